//! A bundle with something wrong in it is refused with the thing, the cause and the remedy; a smaller one says what it
//! cannot do.

use std::path::Path;

use crate::cli::{self, changed_bundle, lookout, picture, replace};

fn label(bundle: &Path) -> cli::Run {
    lookout(["label", &picture("fine.jpg"), "--labels", "a dog, a cat", "--bundle", bundle.to_str().unwrap()])
}

fn check(bundle: &Path) -> cli::Run {
    lookout(["bundle", "check", bundle.to_str().unwrap()])
}

#[test]
fn no_bundle_and_an_empty_folder_are_named() {
    label(Path::new("/nowhere/bundle")).bad(1, &["/nowhere/bundle"]);
    let empty = cli::folder();
    label(empty.path()).bad(1, &[empty.path().to_str().unwrap(), "lookout.toml"]);
}

#[test]
fn a_missing_file_is_named() {
    let bundle = changed_bundle(|folder, _| std::fs::remove_file(folder.join("text.onnx")).unwrap());
    label(bundle.path()).bad(1, &["text.onnx"]);
}

#[test]
fn a_wrong_hash_is_found_by_bundle_check() {
    let bundle = changed_bundle(|_, manifest| {
        manifest["files"]["image"].as_table_mut().unwrap().insert("sha256".into(), "0".repeat(64).into());
    });
    check(bundle.path()).bad(1, &["image.onnx", "SHA-256"]);
}

#[test]
fn a_file_of_the_wrong_size_is_named() {
    let bundle = changed_bundle(|_, manifest| {
        manifest["files"]["image"].as_table_mut().unwrap().insert("bytes".into(), 5.into());
    });
    label(bundle.path()).bad(1, &["image.onnx", "bytes"]);
}

#[test]
fn a_network_of_another_shape_than_the_manifest_says_is_refused() {
    let narrow = changed_bundle(|_, manifest| {
        manifest["embedding"].as_table_mut().unwrap().insert("width".into(), 128.into());
    });
    label(narrow.path()).bad(1, &["128", "384"]);
    let small = changed_bundle(|_, manifest| {
        manifest["picture"].as_table_mut().unwrap().insert("width".into(), 64.into());
    });
    label(small.path()).bad(1, &["image"]);
}

#[test]
fn an_unknown_role_is_named_with_the_nearest_known_one() {
    let bundle = changed_bundle(|_, manifest| {
        let image = manifest["files"]["image"].clone();
        manifest["files"].as_table_mut().unwrap().insert("imagee".into(), image);
    });
    label(bundle.path()).bad(1, &["imagee", "did you mean `image`"]);
}

#[test]
fn a_newer_manifest_asks_for_an_update() {
    let bundle = changed_bundle(|_, manifest| {
        manifest.insert("format".into(), 2.into());
    });
    label(bundle.path()).bad(1, &["newer", "update lookout"]);
}

#[test]
fn a_path_that_leaves_the_folder_is_refused() {
    for path in ["../image.onnx", "/etc/passwd"] {
        let bundle = changed_bundle(|_, manifest| {
            manifest["files"]["image"].as_table_mut().unwrap().insert("path".into(), path.into());
        });
        label(bundle.path()).bad(1, &[path]);
    }
}

#[test]
fn a_tensor_that_claims_a_tebibyte_is_refused_without_memory_for_it() {
    let bundle = changed_bundle(|folder, manifest| replace(folder, manifest, "image", &bomb()));
    label(bundle.path()).bad(1, &["image"]);
    let garbage = changed_bundle(|folder, manifest| replace(folder, manifest, "image", &[0xff; 4000]));
    label(garbage.path()).bad(1, &["image"]);
}

#[test]
fn a_tokenizer_that_is_none_is_refused() {
    let bundle = changed_bundle(|folder, manifest| replace(folder, manifest, "tokenizer", b"{\"model\": 3}"));
    label(bundle.path()).bad(1, &["tokenizer"]);
}

#[test]
fn a_bundle_of_two_towers_labels_and_says_what_it_cannot_do() {
    let bundle = changed_bundle(|_, manifest| {
        manifest.remove("speaker");
        let files = manifest["files"].as_table_mut().unwrap();
        for role in ["decoder", "speaker_tokenizer", "ground"] {
            files.remove(role);
        }
    });
    label(bundle.path()).good();
    let (fine, path) = (picture("fine.jpg"), bundle.path().to_str().unwrap());
    lookout(["caption", &fine, "--bundle", path]).bad(1, &["has no decoder", "cannot caption"]);
    lookout(["ask", &fine, "what?", "--bundle", path]).bad(1, &["has no decoder", "cannot answer"]);
    lookout(["ground", &fine, "a dog", "--bundle", path]).bad(1, &["has no grounding head"]);
    let error = lookout(["caption", &fine, "--bundle", path, "--json"]);
    assert_eq!((error.code, error.json()["error"]["code"].as_str()), (1, Some("unsupported")));
}

#[test]
fn bundle_check_passes_the_default_bundle_and_notices_other_outputs() {
    let good = lookout(["bundle", "check", "--json"]).good().json();
    assert_eq!(good["ok"], true);
    assert!(good["files"].as_array().unwrap().iter().all(|file| file["ok"] == true));
    assert!(!good["pairs"].as_array().unwrap().is_empty(), "the default bundle has stored outputs");

    let other = changed_bundle(|folder, manifest| {
        let entry = manifest["check"].as_table_mut().unwrap();
        let path = folder.join(entry["path"].as_str().unwrap());
        let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let value = &mut stored["image"][0]["embedding"];
        *value = value.as_array().unwrap().iter().map(|x| -x.as_f64().unwrap()).collect();
        let bytes = serde_json::to_vec(&stored).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        use sha2::Digest;
        let hex: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        entry.insert("sha256".into(), hex.into());
        entry.insert("bytes".into(), (bytes.len() as i64).into());
    });
    let run = check(other.path());
    assert_eq!(run.code, 1);
    assert!(run.err.contains("image tower") && run.err.contains("cosine -"), "{}", run.err);
}

/// An ONNX file of one weight that says it has 2^38 floats, and has none.
fn bomb() -> Vec<u8> {
    let dims = [field(1, &varint(1 << 19)), field(1, &varint(1 << 19))].concat();
    let tensor = [dims, field(2, &varint(1)), block(8, b"weight")].concat();
    let float = block(1, &[field(1, &varint(1)), block(2, &block(1, &field(1, &varint(1))))].concat());
    let output = [block(1, b"embedding"), block(2, &float)].concat();
    let node = [block(1, b"weight"), block(2, b"embedding"), block(4, b"Identity")].concat();
    let graph = [block(1, &node), block(2, b"bomb"), block(5, &tensor), block(12, &output)].concat();
    [field(1, &varint(8)), block(7, &graph), block(8, &field(2, &varint(17)))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A protobuf field that is a number.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3), value.to_vec()].concat()
}

/// A protobuf field that is a string, bytes or a message.
fn block(number: u64, body: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

//! Bundles that are broken or mean harm: each is refused with an error that names the bundle, the file and the cause,
//! and says what to do. And the good ones beside them open, so that no refusal here is for another reason.

use std::fs;
use std::path::{Path, PathBuf};

use lookout::Code;
use lookout::bundle::{Bundle, Digest, Role, agreement};
use tempfile::TempDir;

const IMAGE: &[u8] = b"image tower";
const CHECK: &str =
    r#"{"image": [{"seed": 1, "embedding": [0.5, -0.5]}], "text": [{"text": "a dog", "embedding": [1, 0]}]}"#;

/// A manifest of an image tower and stored pairs, both with their true size and hash.
fn manifest() -> String {
    let entry = |path: &str, bytes: &[u8]| {
        format!("path = \"{path}\"\nsha256 = \"{}\"\nbytes = {}\n", Digest::of(bytes), bytes.len())
    };
    format!(
        "format = 1\nname = \"small\"\nversion = \"2\"\nlicence = \"MIT\"\n\n[picture]\nwidth = 8\nheight = 8\n\
         rule = \"stretch\"\nfilter = \"bicubic\"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n\n[embedding]\nwidth = 2\n\n\
         [files.image]\n{}\n[check]\n{}",
        entry("parts/image.onnx", IMAGE),
        entry("check.json", CHECK.as_bytes())
    )
}

/// A sound bundle in a folder of its own.
fn folder() -> (TempDir, PathBuf) {
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("bundle");
    fs::create_dir_all(path.join("parts")).expect("a folder");
    write(&path, "lookout.toml", manifest().as_bytes());
    write(&path, "parts/image.onnx", IMAGE);
    write(&path, "check.json", CHECK.as_bytes());
    (home, path)
}

fn write(folder: &Path, file: &str, bytes: &[u8]) {
    fs::write(folder.join(file), bytes).expect("it can be written");
}

/// An archive of these members, with nothing checked: names and claimed sizes may be anything.
fn tarball(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in members {
        archive.extend(header(name, tar::EntryType::Regular, bytes.len() as u64));
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn header(name: &str, kind: tar::EntryType, size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    *header.as_bytes()
}

fn saved(archive: &[u8]) -> (TempDir, PathBuf) {
    let home = TempDir::new().expect("a temporary folder");
    write(home.path(), "bundle.tar", archive);
    let path = home.path().join("bundle.tar");
    (home, path)
}

#[track_caller]
fn refused(path: &Path, code: Code, parts: &[&str]) {
    let error = Bundle::open(path).expect_err("it is refused");
    assert_eq!(error.code(), code, "{error}");
    let shown = path.display().to_string();
    for part in [&[shown.as_str()], parts].concat() {
        assert!(error.message().contains(part), "{part:?} is in {:?}", error.message());
    }
    assert!(!error.help().is_empty());
}

#[track_caller]
fn refused_tar(archive: &[u8], parts: &[&str]) {
    let (_home, path) = saved(archive);
    refused(&path, Code::Bundle, parts);
}

#[test]
fn a_sound_folder_and_its_archive_open_alike() {
    let (_home, path) = folder();
    let from_folder = Bundle::open(&path).expect("it is sound");
    let text = manifest();
    let plain =
        tarball(&[("lookout.toml", text.as_bytes()), ("parts/image.onnx", IMAGE), ("check.json", CHECK.as_bytes())]);
    let dotted = tarball(&[
        ("./parts/image.onnx", IMAGE),
        ("./check.json", CHECK.as_bytes()),
        ("./lookout.toml", text.as_bytes()),
    ]);
    let nested = tarball(&[
        ("b/parts/image.onnx", IMAGE),
        ("b/lookout.toml", text.as_bytes()),
        ("b/check.json", CHECK.as_bytes()),
    ]);
    for archive in [plain, dotted, nested] {
        let (_home, path) = saved(&archive);
        let bundle = Bundle::open(&path).expect("it is sound");
        bundle.verify().expect("its hashes hold");
        assert_eq!(bundle.identity(), from_folder.identity());
        assert_eq!(bundle.bytes(Role::Image), Some(IMAGE));
        assert_eq!(bundle.pairs().expect("they parse"), from_folder.pairs().expect("they parse"));
    }
    from_folder.verify().expect("its hashes hold");
    assert_eq!((from_folder.name(), from_folder.bytes(Role::Image)), ("small", Some(IMAGE)));
    assert!(!from_folder.has(Role::Decoder) && from_folder.bytes(Role::Decoder).is_none());
}

#[test]
fn an_archive_by_the_tar_crate_with_a_long_name_opens() {
    let long = format!("{}/image.onnx", "p".repeat(120));
    let text = manifest().replace("parts/image.onnx", &long);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in [("lookout.toml", text.as_bytes()), (&long, IMAGE), ("check.json", CHECK.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).expect("it can be packed");
    }
    let (_home, path) = saved(&builder.into_inner().expect("it can be packed"));
    assert_eq!(Bundle::open(&path).expect("it is sound").bytes(Role::Image), Some(IMAGE));
}

#[test]
fn nothing_there_is_an_input_error() {
    let (home, _) = folder();
    refused(&home.path().join("absent"), Code::Input, &["cannot be opened"]);
    refused(&home.path().join("bundle/lookout.toml/x"), Code::Input, &["cannot be opened"]);
}

#[test]
fn a_folder_without_a_manifest_is_refused() {
    let (_home, path) = folder();
    fs::remove_file(path.join("lookout.toml")).expect("it was there");
    refused(&path, Code::Bundle, &["has no lookout.toml"]);
    fs::create_dir(path.join("lookout.toml")).expect("a folder");
    refused(&path, Code::Bundle, &["lookout.toml is not a file"]);
}

#[test]
fn a_garbage_manifest_is_refused() {
    let (_home, path) = folder();
    for (bytes, cause) in [
        (&b""[..], "lookout.toml is empty"),
        (b"\x00\x9f\xff", "not UTF-8"),
        (b"<html>", "line 1"),
        (b"format = 2", "format 2 is newer"),
        (&[b'#'; 300 << 10], "larger than 256 KiB"),
    ] {
        write(&path, "lookout.toml", bytes);
        refused(&path, Code::Bundle, &[cause]);
    }
}

#[test]
fn an_unknown_role_is_named() {
    let (_home, path) = folder();
    write(&path, "lookout.toml", manifest().replace("[files.image]", "[files.imagery]").as_bytes());
    refused(&path, Code::Bundle, &["unknown role \"imagery\""]);
}

#[test]
fn a_missing_file_is_named() {
    let (_home, path) = folder();
    fs::remove_file(path.join("parts/image.onnx")).expect("it was there");
    refused(&path, Code::Bundle, &["parts/image.onnx is missing"]);
    fs::remove_dir(path.join("parts")).expect("it was there");
    write(&path, "parts", b"a file where the folder was");
    refused(&path, Code::Bundle, &["parts/image.onnx is missing"]);
}

#[test]
fn a_file_of_another_size_is_named() {
    let (_home, path) = folder();
    write(&path, "parts/image.onnx", b"shorter");
    refused(&path, Code::Bundle, &["parts/image.onnx has 7 bytes, the manifest says 11"]);
    write(&path, "parts/image.onnx", b"");
    refused(&path, Code::Bundle, &["parts/image.onnx is empty"]);
    fs::remove_file(path.join("parts/image.onnx")).expect("it was there");
    fs::create_dir(path.join("parts/image.onnx")).expect("a folder");
    refused(&path, Code::Bundle, &["parts/image.onnx is not a file"]);
}

#[test]
fn a_changed_byte_is_found_by_verify() {
    let (_home, path) = folder();
    write(&path, "parts/image.onnx", b"image tOwer");
    let bundle = Bundle::open(&path).expect("its size is right");
    let error = bundle.verify().expect_err("its hash is not");
    assert_eq!(error.code(), Code::Bundle);
    for part in ["parts/image.onnx is damaged", &path.display().to_string(), &Digest::of(IMAGE).to_string()] {
        assert!(error.message().contains(part), "{part:?} is in {:?}", error.message());
    }
}

#[test]
fn damaged_stored_pairs_are_refused() {
    let (_home, path) = folder();
    let pairs = Bundle::open(&path).and_then(|bundle| bundle.pairs()).expect("they are sound").expect("there are some");
    assert_eq!((pairs.image[0].seed, pairs.text[0].text.as_str()), (1, "a dog"));
    write(&path, "check.json", CHECK.replace("0.5", "0.6").as_bytes());
    let bundle = Bundle::open(&path).expect("its size is right");
    assert!(bundle.pairs().expect_err("its hash is wrong").message().contains("check.json is damaged"));
    for (json, cause) in [
        ("7", "check.json is no check file"),
        ("{}", "check.json holds no pairs"),
        (r#"{"image": [{"seed": 1, "embedding": [1]}]}"#, "an embedding of 1 floats where 2 are stored"),
        (r#"{"text": [{"text": "", "embedding": [0, 0]}]}"#, "zero or not finite"),
        (r#"{"text": [{"text": "", "embedding": [1e60, 0]}]}"#, "check.json"),
        (r#"{"words": []}"#, "unknown field `words`"),
    ] {
        let (hash, bytes) = (Digest::of(json.as_bytes()).to_string(), format!("bytes = {}", json.len()));
        let text = manifest().replace(&Digest::of(CHECK.as_bytes()).to_string(), &hash);
        write(&path, "lookout.toml", text.replace(&format!("bytes = {}", CHECK.len()), &bytes).as_bytes());
        write(&path, "check.json", json.as_bytes());
        let error = Bundle::open(&path).and_then(|bundle| bundle.pairs()).expect_err(json);
        assert!(error.message().contains(cause), "{cause:?} is in {:?}", error.message());
    }
}

#[test]
fn a_path_that_leaves_the_folder_is_refused() {
    let (home, path) = folder();
    write(home.path(), "outside.onnx", IMAGE);
    let outside = home.path().join("outside.onnx").display().to_string();
    for (written, cause) in [("../outside.onnx", "leaves the folder by `..`"), (&outside, "it is absolute")] {
        write(&path, "lookout.toml", manifest().replace("parts/image.onnx", written).as_bytes());
        refused(&path, Code::Bundle, &[written, cause, "line "]);
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leaves_the_folder_is_refused_and_one_that_stays_is_not() {
    use std::os::unix::fs::symlink;
    let (home, path) = folder();
    let image = path.join("parts/image.onnx");
    write(&path, "real.onnx", IMAGE);
    fs::remove_file(&image).expect("it was there");
    symlink("../real.onnx", &image).expect("a link");
    Bundle::open(&path).expect("the link stays inside");

    write(home.path(), "outside.onnx", IMAGE);
    fs::remove_file(&image).expect("it was there");
    symlink("../../outside.onnx", &image).expect("a link");
    refused(&path, Code::Bundle, &["parts/image.onnx is a link that leaves the folder"]);

    fs::remove_dir_all(path.join("parts")).expect("it was there");
    fs::create_dir(home.path().join("elsewhere")).expect("a folder");
    write(&home.path().join("elsewhere"), "image.onnx", IMAGE);
    symlink("../elsewhere", path.join("parts")).expect("a link");
    refused(&path, Code::Bundle, &["parts/image.onnx is a link that leaves the folder"]);

    fs::remove_file(path.join("parts")).expect("it was there");
    fs::create_dir(path.join("parts")).expect("a folder");
    symlink("image.onnx", &image).expect("a link to itself");
    refused(&path, Code::Bundle, &["parts/image.onnx cannot be read"]);

    let (home, path) = folder();
    fs::rename(path.join("lookout.toml"), home.path().join("outside.toml")).expect("it was there");
    symlink("../outside.toml", path.join("lookout.toml")).expect("a link");
    refused(&path, Code::Bundle, &["lookout.toml is a link that leaves the folder"]);
}

#[test]
fn an_archive_cut_at_any_byte_is_refused_or_whole() {
    let text = manifest();
    let whole =
        tarball(&[("lookout.toml", text.as_bytes()), ("parts/image.onnx", IMAGE), ("check.json", CHECK.as_bytes())]);
    let needed = 512 + text.len().next_multiple_of(512) + 1024 + 512 + CHECK.len();
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("cut.tar");
    for length in (0..whole.len()).step_by(7).chain([needed - 1, needed]) {
        fs::write(&path, &whole[..length]).expect("it can be written");
        match Bundle::open(&path) {
            Ok(bundle) => {
                assert!(length >= needed, "{length} bytes cannot hold every file");
                bundle.verify().expect("what opened is whole");
            }
            Err(error) => {
                assert!(length < needed || error.message().contains("no sound tar"), "{length} bytes: {error}");
                assert_eq!(error.code(), Code::Bundle, "{length} bytes: {error}");
            }
        }
    }
}

#[test]
fn an_archive_that_claims_a_huge_member_is_refused() {
    let text = manifest();
    for size in [1 << 20, 0o77_777_777_777, 1 << 62, u64::MAX] {
        let mut archive = tarball(&[("lookout.toml", text.as_bytes())]);
        archive.truncate(archive.len() - 1024);
        archive.extend(header("parts/image.onnx", tar::EntryType::Regular, size));
        archive.extend(IMAGE);
        let (_home, path) = saved(&archive);
        let error = Bundle::open(&path).expect_err("it is refused");
        let named =
            ["cut short: parts/image.onnx claims", "no sound tar"].iter().any(|part| error.message().contains(part));
        assert!(named, "{error}");
    }
}

#[test]
fn an_archive_with_a_member_outside_is_refused() {
    let text = manifest();
    for (name, cause) in
        [("../evil", "leaves the folder"), ("/etc/evil", "absolute"), ("a/../../evil", "leaves the folder")]
    {
        refused_tar(&tarball(&[("lookout.toml", text.as_bytes()), (name, b"x")]), &[name, cause]);
    }
}

#[test]
fn an_archive_with_a_link_is_refused() {
    let text = manifest();
    for (kind, called) in [
        (tar::EntryType::Symlink, "symbolic link"),
        (tar::EntryType::Link, "hard link"),
        (tar::EntryType::Char, "device"),
        (tar::EntryType::Fifo, "pipe"),
        (tar::EntryType::GNUSparse, "unusual"),
    ] {
        let archive =
            [&header("parts/image.onnx", kind, 0)[..], &tarball(&[("lookout.toml", text.as_bytes())])].concat();
        let (_home, path) = saved(&archive);
        let error = Bundle::open(&path).expect_err("it is refused");
        assert!(error.message().contains(called) || error.message().contains("no sound tar"), "{called}: {error}");
    }
}

#[test]
fn an_archive_with_a_member_twice_is_refused() {
    let text = manifest();
    let members = [("lookout.toml", text.as_bytes()), ("check.json", b"x"), ("./check.json", CHECK.as_bytes())];
    refused_tar(&tarball(&members), &["check.json is in it twice"]);
}

#[test]
fn an_archive_of_very_many_members_is_refused() {
    let names: Vec<String> = (0..1025).map(|count| format!("m{count}")).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    refused_tar(&tarball(&members), &["more than 1024 members"]);
}

#[test]
fn what_is_no_archive_is_refused() {
    refused_tar(b"", &["the file is empty"]);
    refused_tar(&[0; 10_240], &["has no lookout.toml"]);
    refused_tar(&[0x5A; 10_240], &["no sound tar"]);
    refused_tar(b"\x1f\x8b\x08\x00 a compressed archive", &["no sound tar"]);
    refused_tar(&tarball(&[("a/lookout.toml.x", b"x")]), &["has no lookout.toml"]);
}

#[test]
fn made_up_inputs_follow_the_formula_and_agreement_is_a_cosine() {
    let (_home, path) = folder();
    let pairs = Bundle::open(&path).and_then(|bundle| bundle.pairs()).expect("they are sound").expect("there are some");
    let input = pairs.image[0].input(3);
    let expected = [40_503.0, 2_654_435_761.0 + 40_503.0, (2.0 * 2_654_435_761.0 + 40_503.0) % 4_294_967_296.0];
    for (value, sum) in input.iter().zip(expected) {
        assert_eq!(*value, (sum / 4_294_967_296.0 * 2.0 - 1.0) as f32);
    }
    assert!((agreement(&[1.0, 0.0], &[3.0, 4.0, 99.0]) - 0.6).abs() < 1e-6);
    assert_eq!(agreement(&[1.0, 0.0], &[0.0, 0.0]), 0.0);
}

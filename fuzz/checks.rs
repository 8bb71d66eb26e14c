//! What each fuzz target promises. The targets run these over made-up bytes, `tests/fuzz_corpus.rs` over the corpus.
#![allow(dead_code)]

use std::sync::{Once, OnceLock};

use lookout::bundle::{Bundle, Manifest};
use lookout::picture::{Filter, MAX_PIXELS, Picture, Preprocess, ResizeRule};
use lookout::text::Tokenizer;
use lookout::{Code, Error};

/// The fuzzer's own panic hook ends the process even where the library catches the panic and reports an error. With this
/// one, only a panic that gets out ends it.
pub fn let_guards_catch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| eprintln!("{info}"))));
}

/// A manifest is refused with a cause and a remedy, or it reads back the same from its own TOML. Bytes that could be an
/// archive are opened as one too.
pub fn manifest(bytes: &[u8]) {
    match Manifest::from_bytes(bytes, "fuzz") {
        Ok(manifest) => {
            let text = manifest.to_toml().expect("what was read can be written");
            let again = Manifest::from_bytes(text.as_bytes(), "fuzz").expect("what was written can be read");
            assert_eq!(again.document(), manifest.document());
            assert!(manifest.identity().starts_with(manifest.name()));
        }
        Err(error) => explained(&error, &[Code::Bundle]),
    }
    if bytes.len() >= 512 {
        archive(bytes);
    }
}

fn archive(bytes: &[u8]) {
    let thread = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("lookout-fuzz-{}-{thread:?}.tar", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    match Bundle::open(&path) {
        Ok(bundle) => {
            for (role, entry) in bundle.manifest().files() {
                assert_eq!(bundle.bytes(role).map(|bytes| bytes.len() as u64), Some(entry.bytes));
            }
            let _ = bundle.verify().map_err(|error| explained(&error, &[Code::Bundle]));
            let _ = bundle.pairs().map_err(|error| explained(&error, &[Code::Bundle]));
        }
        Err(error) => explained(&error, &[Code::Bundle]),
    }
    // Left behind at worst; the next run of this process writes over it.
    let _ = std::fs::remove_file(&path);
}

/// A picture is refused with a cause and a remedy, or has as many pixels as it says and can be made a tower's input.
pub fn picture(bytes: &[u8]) {
    match Picture::decode(bytes, "fuzz") {
        Ok(picture) => {
            let pixels = u64::from(picture.width()) * u64::from(picture.height());
            assert!((1..=MAX_PIXELS).contains(&pixels));
            assert_eq!(picture.as_rgb8().len() as u64, pixels * 3);
            if pixels <= 1 << 16 {
                let (width, height, rule, filter) = (5, 3, ResizeRule::Crop, Filter::Bicubic);
                let input = Preprocess { width, height, rule, filter, mean: [0.5; 3], std: [0.5; 3] }.apply(&picture);
                assert!(input.len() == 45 && input.iter().all(|value| (-1.001..=1.001).contains(value)));
            }
        }
        Err(error) => explained(&error, &[Code::Picture, Code::Input]),
    }
}

/// A sentence becomes ids of the vocabulary, which become text again. Bytes that could be a `tokenizer.json` are read as
/// one too, and used on a short sentence.
pub fn tokenizer(bytes: &[u8]) {
    static DEFAULT: OnceLock<Tokenizer> = OnceLock::new();
    let default = DEFAULT.get_or_init(|| {
        let json = include_bytes!("../models/default/tokenizer.json");
        Tokenizer::from_bytes(json, "tokenizer.json").expect("the default tokenizer is sound")
    });
    let text = String::from_utf8_lossy(bytes);
    match default.encode(&text) {
        Ok(ids) => {
            assert!(ids.iter().all(|id| (*id as usize) < default.vocab_size()));
            let plain = default.encode_plain(&text).expect("it can be encoded with special tokens");
            assert!(plain.len() <= ids.len());
            default.decode(&ids).expect("ids of the vocabulary can be decoded");
        }
        Err(error) => explained(&error, &[Code::Text]),
    }
    if bytes.first() == Some(&b'{') {
        match Tokenizer::from_bytes(bytes, "fuzz") {
            Ok(strange) => {
                if let Err(error) = strange.encode("a dog, 2 cats").and_then(|ids| strange.decode(&ids)) {
                    explained(&error, &[Code::Text]);
                }
            }
            Err(error) => explained(&error, &[Code::Text]),
        }
    }
}

fn explained(error: &Error, codes: &[Code]) {
    assert!(codes.contains(&error.code()), "{:?}: {error}", error.code());
    assert!(!error.message().is_empty() && !error.help().is_empty(), "{error:?}");
}

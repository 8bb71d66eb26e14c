//! Every file that the fuzz targets found worth keeping, through the same checks.
#![cfg(all(feature = "bundle", feature = "kernels", feature = "picture", feature = "serial", feature = "text"))]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

#[test]
fn no_shape_of_the_corpus_breaks_a_kernel() {
    replay("kernels", checks::kernels);
}

#[test]
fn no_manifest_of_the_corpus_breaks_its_promise() {
    replay("manifest", checks::manifest);
}

#[test]
fn no_picture_of_the_corpus_breaks_its_promise() {
    replay("picture", checks::picture);
}

#[test]
fn no_noise_of_the_corpus_breaks_the_serial_line() {
    replay("serial_line", checks::serial_line);
}

#[test]
fn no_sentence_of_the_corpus_breaks_its_promise() {
    replay("tokenizer", checks::tokenizer);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("the folder can be read").path();
        eprintln!("{}", path.display());
        check(&std::fs::read(&path).expect("the file can be read"));
        replayed += 1;
    }
    assert!(replayed >= 10, "{} has only {replayed} files", folder.display());
}

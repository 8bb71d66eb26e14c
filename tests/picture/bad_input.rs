//! A bad picture or a bad place to write gives an error that names it and says what to do; never a panic, never a
//! partial file.

use std::path::{Path, PathBuf};

use lookout::Code;
use lookout::picture::{MAX_PIXELS, Picture};

#[test]
fn damaged_pictures_are_refused_by_name() {
    let list = std::fs::read_to_string(folder().join("cases.txt")).unwrap();
    let mut seen = 0;
    for name in list.lines().filter_map(|line| line.strip_prefix("refuse ")) {
        let error = Picture::open(&folder().join(name)).expect_err(name);
        assert_eq!(error.code(), Code::Picture, "{error}");
        assert!(error.message().contains(name), "{error}");
        assert!(!error.help().is_empty(), "{error}");
        println!("{error}\n    {}", error.help());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} cases");
}

#[test]
fn every_cut_of_a_picture_is_an_error_or_the_picture() {
    for name in ["photo.jpg", "progressive.jpg", "odd.png", "moving.gif", "lossless.webp", "rgb.tiff", "rgb.bmp"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        let whole = Picture::decode(&bytes, name).unwrap();
        let step = (bytes.len() / 150).max(1);
        for end in (0..bytes.len()).step_by(step) {
            match Picture::decode(&bytes[..end], name) {
                Err(error) => assert!(error.message().contains(name), "{error}"),
                // Only what follows the first frame, or a checksum, may be missing.
                Ok(picture) => assert_eq!(picture, whole, "{name} cut at {end}"),
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for name in ["photo.jpg", "cmyk_adobe.jpg", "palette_alpha.png", "moving.gif", "lossy.webp", "turned.tiff"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        for at in (0..bytes.len()).step_by((bytes.len() / 200).max(1)) {
            for flip in [0xFF, 0x01, 0x80] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                if let Ok(picture) = Picture::decode(&broken, name) {
                    assert!(u64::from(picture.width()) * u64::from(picture.height()) <= MAX_PIXELS);
                }
            }
        }
    }
}

#[test]
fn an_enormous_picture_is_refused_with_its_numbers() {
    let error = Picture::open(&folder().join("huge.png")).unwrap_err();
    for part in ["20000 x 20000", "400 million", "64 million"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(error.help().contains("shrink"));
}

#[test]
fn missing_files_and_folders_are_told_apart() {
    let missing = Picture::open(Path::new("no/such/picture.jpg")).unwrap_err();
    assert_eq!(missing.code(), Code::Input);
    assert!(missing.message().contains("no/such/picture.jpg"));
    let dir = Picture::open(&folder()).unwrap_err();
    assert_eq!(dir.code(), Code::Input);
    assert!(dir.message().contains("is a folder"));
}

#[test]
fn a_saved_picture_reads_back_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let picture = Picture::open(&folder().join("odd.png")).unwrap();
    for name in ["a.png", "a.webp", "a.bmp", "a.TIF", "a.tiff"] {
        picture.save(&dir.path().join(name)).unwrap();
        assert_eq!(Picture::open(&dir.path().join(name)).unwrap(), picture, "{name}");
    }
    for name in ["a.jpg", "a.jpeg"] {
        picture.save(&dir.path().join(name)).unwrap();
        let back = Picture::open(&dir.path().join(name)).unwrap();
        assert_eq!((back.width(), back.height()), (37, 53));
    }
    assert_eq!(names(dir.path()).len(), 7);
}

#[test]
fn an_unknown_extension_lists_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let picture = Picture::from_rgb8(1, 1, vec![1, 2, 3]).unwrap();
    for name in ["boxes.xyz", "boxes", "boxes.gif"] {
        let error = picture.save(&dir.path().join(name)).unwrap_err();
        assert_eq!(error.code(), Code::Output);
        assert!(error.message().contains(name) && error.help().contains(".png .jpg"), "{error}");
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn places_that_cannot_be_written_are_errors_without_a_partial_file() {
    let dir = tempfile::tempdir().unwrap();
    let picture = Picture::from_rgb8(2, 2, vec![9; 12]).unwrap();
    let kept = dir.path().join("kept.png");
    std::fs::write(&kept, "mine").unwrap();
    let mut permissions = std::fs::metadata(&kept).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&kept, permissions).unwrap();
    std::fs::create_dir(dir.path().join("folder.png")).unwrap();

    for (place, cause) in [
        (kept.clone(), "read-only"),
        (dir.path().join("folder.png"), "a folder"),
        (dir.path().join("no/such/folder/a.png"), "No such file"),
        (kept.join("below_a_file.png"), "Not a directory"),
    ] {
        let error = picture.save(&place).unwrap_err();
        assert_eq!(error.code(), Code::Output);
        assert!(error.message().contains(cause), "{error}");
        assert!(error.message().contains(place.to_str().unwrap()), "{error}");
    }
    assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    assert_eq!(names(dir.path()), ["folder.png", "kept.png"]);
}

#[cfg(unix)]
#[test]
fn saving_through_a_link_keeps_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.png"), dir.path().join("link.png"));
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let picture = Picture::from_rgb8(1, 1, vec![1, 2, 3]).unwrap();
    picture.save(&link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Picture::open(&real).unwrap(), picture);
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/picture")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

//! A set with a fault is refused with an error that names the file, the line and the cause.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use lookout::eval::Set;
use lookout::picture::Picture;
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Debug, Deserialize)]
struct Named {
    image: String,
}

/// A folder with `images.tar` (two PNG pictures) and `rows.jsonl`.
struct Folder(TempDir);

impl Folder {
    fn new(rows: &[u8]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::write(folder.rows(), rows).unwrap();
        let mut archive = tar::Builder::new(File::create(folder.images()).unwrap());
        for (name, width) in [("./a.png", 3), ("b.png", 5)] {
            let path = folder.0.path().join("picture.png");
            Picture::from_rgb8(width, 2, vec![200; width as usize * 6]).unwrap().save(&path).unwrap();
            archive.append_path_with_name(&path, name).unwrap();
        }
        archive.finish().unwrap();
        folder
    }

    fn images(&self) -> PathBuf {
        self.0.path().join("images.tar")
    }

    fn rows(&self) -> PathBuf {
        self.0.path().join("rows.jsonl")
    }

    fn open(&self, limit: Option<usize>) -> lookout::Result<Set> {
        Set::open(&self.images(), &self.rows(), limit)
    }

    fn images_of(&self, limit: Option<usize>) -> Result<Vec<String>, lookout::Error> {
        self.open(limit)?.rows::<Named>()?.map(|row| Ok(row?.body.image)).collect()
    }
}

#[test]
fn rows_come_in_file_order_without_blank_lines_and_end_at_the_limit() {
    let folder = Folder::new(b"{\"image\":\"b.png\"}\n\n  \n{\"image\":\"a.png\", \"width\": 3}");
    assert_eq!(folder.images_of(None).unwrap(), ["b.png", "a.png"]);
    assert_eq!(folder.images_of(Some(1)).unwrap(), ["b.png"]);
    assert_eq!(folder.open(None).unwrap().count_rows().unwrap(), 2);
    assert_eq!(folder.open(Some(1)).unwrap().count_rows().unwrap(), 1);
}

#[test]
fn pictures_are_found_by_name_with_or_without_a_leading_dot() {
    let set = Folder::new(b"").open(None).unwrap();
    assert_eq!(set.picture("a.png", 1).unwrap().width(), 3);
    assert_eq!(set.picture("b.png", 1).unwrap().width(), 5);
}

#[test]
fn a_picture_missing_from_the_archive_names_the_picture_and_the_line() {
    let error = Folder::new(b"").open(None).unwrap().picture("c.png", 7).unwrap_err();
    assert!(error.message().contains("c.png") && error.message().contains("line 7"), "{error}");
}

#[test]
fn a_bad_row_names_its_line_and_what_is_wrong() {
    let good = b"{\"image\":\"a.png\"}\n".to_vec();
    for (bad, cause) in [
        (&b"{\"picture\":\"a.png\"}"[..], "missing field `image`"),
        (b"{\"image\":3}", "expected a string"),
        (b"{\"image\":\"a.png\"", "EOF"),
        (b"{\"image\":\"\xff\"}", "invalid unicode"),
    ] {
        let error = Folder::new(&[&good, bad].concat()).images_of(None).unwrap_err();
        assert!(error.message().contains("line 2 of"), "{error}");
        assert!(error.message().contains(cause), "{error}");
    }
}

#[test]
fn a_row_without_end_is_refused_before_it_fills_memory() {
    let folder = Folder::new(b"");
    let mut rows = File::create(folder.rows()).unwrap();
    (0..40).for_each(|_| rows.write_all(&[b' '; 1 << 16]).unwrap());
    let error = folder.images_of(None).unwrap_err();
    assert!(error.message().contains("longer than 1 MiB"), "{error}");
}

#[test]
fn no_rows_and_a_limit_of_nothing_are_errors() {
    assert!(Folder::new(b"\n\n").open(None).unwrap().count_rows().is_err());
    assert!(Folder::new(b"{\"image\":\"a.png\"}").open(Some(0)).unwrap().count_rows().is_err());
}

#[test]
fn an_archive_that_is_no_tar_or_empty_or_missing_or_a_folder_is_refused() {
    let folder = Folder::new(b"");
    fs::write(folder.images(), [7u8; 4096]).unwrap();
    let error = folder.open(None).err().unwrap();
    assert!(error.message().contains("images.tar") && error.message().contains("tar archive"), "{error}");
    fs::write(folder.images(), b"").unwrap();
    assert!(folder.open(None).err().unwrap().message().contains("holds no files"));
    fs::remove_file(folder.images()).unwrap();
    assert!(folder.open(None).err().unwrap().message().contains("images.tar"));
    fs::create_dir(folder.images()).unwrap();
    assert!(folder.open(None).err().unwrap().message().contains("folder"));
}

#[test]
fn an_archive_cut_within_a_picture_names_the_picture() {
    let folder = Folder::new(b"");
    // The second picture's header fills bytes 1024 to 1535; its data begin at 1536.
    File::options().write(true).open(folder.images()).unwrap().set_len(1540).unwrap();
    let error = folder.open(None).and_then(|set| set.picture("b.png", 2)).unwrap_err();
    assert!(error.message().contains("b.png") || error.message().contains("images.tar"), "{error}");
}

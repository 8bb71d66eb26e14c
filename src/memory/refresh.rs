//! Bringing an index up to date with its folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::{Code, Error, Result};

use super::{Entry, Index, Stamp};

/// Pictures after which the index is saved, so that an interruption loses little.
const SAVE_EVERY: usize = 100;

/// Saving takes at most about one part in this of the time, however large the index grows.
const SAVE_SHARE: u32 = 20;

/// What a refresh did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Pictures embedded.
    pub embedded: usize,
    /// Files forgotten because they are gone.
    pub dropped: usize,
    /// Files found unreadable now.
    pub unreadable: usize,
}

/// Embeds every new or changed picture under `folder` and forgets those that are gone. Hidden files and folders are left
/// out; links to folders are not followed. A file that is no readable picture is warned about, noted, and not tried again
/// until it changes. `save` is called every 100 pictures and at the end if anything changed; `progress` hears how many of
/// how many are done. Any other failure of `embed` (a network that does not run) ends the refresh, after a save.
pub fn refresh(
    index: &mut Index,
    folder: &Path,
    embed: &mut dyn FnMut(&Path) -> Result<Vec<f32>>,
    save: &mut dyn FnMut(&Index) -> Result<()>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Refreshed> {
    let files = walk(folder)?;
    let known: BTreeSet<&PathBuf> = files.iter().map(|(path, _)| path).collect();
    let mut done = Refreshed { dropped: index.retain(|path| known.contains(&path.to_owned())), ..Refreshed::default() };
    let fresh: Vec<_> =
        files.iter().filter(|(path, stamp)| index.entry(path).is_none_or(|e| e.stamp != *stamp)).collect();
    let mut changed = done.dropped > 0;
    let (mut unsaved, mut saved_at, mut saving) = (0, Instant::now(), Duration::ZERO);
    for (at, (path, stamp)) in fresh.iter().enumerate() {
        match embedded(&folder.join(path), embed) {
            Ok(Some(embedding)) => {
                done.embedded += 1;
                index.insert(path.clone(), Entry { stamp: *stamp, embedding: Some(embedding) });
            }
            Ok(None) => {
                done.unreadable += 1;
                index.insert(path.clone(), Entry { stamp: *stamp, embedding: None });
            }
            // It cannot be opened now; another time it may.
            Err(error) if error.code() == Code::Input => {
                log::warn!("{error}; skipped");
                done.unreadable += 1;
                progress(at + 1, fresh.len());
                continue;
            }
            Err(error) => {
                save(index)?;
                return Err(error);
            }
        }
        (changed, unsaved) = (true, unsaved + 1);
        if unsaved >= SAVE_EVERY && saved_at.elapsed() >= saving * SAVE_SHARE {
            let begin = Instant::now();
            save(index)?;
            (changed, unsaved, saved_at, saving) = (false, 0, Instant::now(), begin.elapsed());
        }
        progress(at + 1, fresh.len());
    }
    if changed {
        save(index)?;
    }
    Ok(done)
}

/// Whether a name ends like a picture's: jpg, jpeg, png, gif, bmp, webp, tif, tiff, in any case.
pub fn is_picture_name(path: &Path) -> bool {
    let known = ["jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"];
    path.extension().is_some_and(|end| known.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// `None` where the file can be opened but is no picture, which is warned about here.
fn embedded(path: &Path, embed: &mut dyn FnMut(&Path) -> Result<Vec<f32>>) -> Result<Option<Vec<f32>>> {
    fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    match embed(path) {
        Ok(embedding) => Ok(Some(embedding)),
        Err(error) if matches!(error.code(), Code::Picture | Code::Input) => {
            log::warn!("{error}; skipped until it changes");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Every picture file under `folder`, by its path from there, sorted.
fn walk(folder: &Path) -> Result<Vec<(PathBuf, Stamp)>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let here = folder.join(&inner);
        let listing = match fs::read_dir(&here) {
            Ok(listing) => listing,
            Err(error) if inner.as_os_str().is_empty() => return Err(unreadable(&here, &error)),
            Err(error) => {
                log::warn!("{}; skipped", unreadable(&here, &error));
                continue;
            }
        };
        for item in listing.flatten() {
            let name = item.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = inner.join(&name);
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if is_picture_name(&path) {
                let Ok(meta) = fs::metadata(item.path()) else { continue };
                if meta.is_file() {
                    files.push((path, stamp(&meta)));
                }
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn stamp(meta: &fs::Metadata) -> Stamp {
    let mtime_ns = match meta.modified().map(|time| time.duration_since(UNIX_EPOCH)) {
        Ok(Ok(after)) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Ok(Err(before)) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        Err(_) => 0,
    };
    Stamp { size: meta.len(), mtime_ns }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Input, format!("{} cannot be read: {error}", path.display()), "check the path and its permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Embeds a file by its first byte; a file that begins with `x` is no picture.
    fn first_byte(path: &Path) -> Result<Vec<f32>> {
        match fs::read(path).unwrap().first() {
            Some(b'x') => Err(Error::new(Code::Picture, "not a picture", "")),
            Some(b'!') => Err(Error::new(Code::Engine, "the network does not run", "")),
            first => Ok(vec![f32::from(*first.unwrap())]),
        }
    }

    fn run(index: &mut Index, folder: &Path) -> (Result<Refreshed>, Vec<PathBuf>, usize) {
        let (mut asked, mut saves) = (vec![], 0);
        let done = refresh(
            index,
            folder,
            &mut |path| {
                asked.push(path.strip_prefix(folder).unwrap().to_owned());
                first_byte(path)
            },
            &mut |_| {
                saves += 1;
                Ok(())
            },
            &mut |_, _| {},
        );
        (done, asked, saves)
    }

    #[test]
    fn only_new_and_changed_pictures_are_embedded_and_vanished_ones_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &str| fs::write(folder.path().join(name), bytes).unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        for (name, bytes) in
            [("a.JPG", "a"), ("inner/b.png", "b"), ("bad.gif", "x"), (".hidden.jpg", "h"), ("n.txt", "n")]
        {
            put(name, bytes);
        }
        let mut index = Index::new("i", 1);
        let (done, asked, saves) = run(&mut index, folder.path());
        assert_eq!(done.unwrap(), Refreshed { embedded: 2, dropped: 0, unreadable: 1 });
        assert_eq!(asked, ["a.JPG", "bad.gif", "inner/b.png"].map(PathBuf::from));
        assert_eq!((saves, index.pictures()), (1, 2));

        let (done, asked, saves) = run(&mut index, folder.path());
        assert_eq!((done.unwrap(), asked.len(), saves), (Refreshed::default(), 0, 0));

        put("a.JPG", "changed");
        fs::remove_file(folder.path().join("inner/b.png")).unwrap();
        let (done, asked, saves) = run(&mut index, folder.path());
        assert_eq!(done.unwrap(), Refreshed { embedded: 1, dropped: 1, unreadable: 0 });
        assert_eq!((asked, saves), (vec![PathBuf::from("a.JPG")], 1));
    }

    #[test]
    fn what_was_embedded_before_a_failure_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), "a").unwrap();
        fs::write(folder.path().join("b.jpg"), "!").unwrap();
        let mut index = Index::new("i", 1);
        let (done, _, saves) = run(&mut index, folder.path());
        assert_eq!(done.unwrap_err().code(), Code::Engine);
        assert_eq!((index.pictures(), saves), (1, 1));
    }

    #[test]
    fn a_long_run_saves_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..250 {
            fs::write(folder.path().join(format!("{n}.jpg")), "a").unwrap();
        }
        let (_, asked, saves) = run(&mut Index::new("i", 1), folder.path());
        assert_eq!((asked.len(), saves), (250, 3));
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_it() {
        let (done, ..) = run(&mut Index::new("i", 1), Path::new("/nowhere/at/all"));
        assert!(done.unwrap_err().message().contains("/nowhere/at/all"));
    }
}

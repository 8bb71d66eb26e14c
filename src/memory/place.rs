//! Where an index lies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Code, Error, Result};

use super::INDEX_NAME;

/// The file of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Whether the folder could not be written, so that the user's cache holds the index.
    pub in_cache: bool,
}

impl Place {
    /// `wanted` if there is one, else [`INDEX_NAME`] in `folder`, else (where that cannot be written) a file for this
    /// folder in the user's cache: `$XDG_CACHE_HOME/lookout`, or `~/.cache/lookout`.
    pub fn find(folder: &Path, wanted: Option<&Path>) -> Result<Self> {
        if let Some(path) = wanted {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return match writable(parent) {
                Ok(()) if path.is_dir() => Err(unwritable(path, "it is a folder")),
                Ok(()) => Ok(Self { path: path.to_owned(), in_cache: false }),
                Err(error) => Err(unwritable(path, &error.to_string())),
            };
        }
        let Err(refusal) = writable(folder) else {
            return Ok(Self { path: folder.join(INDEX_NAME), in_cache: false });
        };
        let cache = cache().ok_or_else(|| unwritable(&folder.join(INDEX_NAME), &refusal.to_string()))?;
        fs::create_dir_all(&cache)
            .and_then(|()| writable(&cache))
            .map_err(|error| unwritable(&cache, &error.to_string()))?;
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Ok(Self { path: cache.join(cached_name(&whole)), in_cache: true })
    }
}

fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("lookout"))
}

/// A name for the index of the folder `whole` (absolute) among those of other folders.
fn cached_name(whole: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let crc = crc::Crc::<u64>::new(&crc::CRC_64_XZ);
    format!("index-{:016x}", crc.checksum(whole.as_os_str().as_bytes()))
}

/// Whether a file can be made in `folder`: permission bits do not tell (read-only mounts, access lists), so one is made.
fn writable(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!("{INDEX_NAME}.{}.probe", std::process::id()));
    fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

fn unwritable(path: &Path, cause: &str) -> Error {
    Error::new(
        Code::Output,
        format!("the index {} cannot be written: {cause}", path.display()),
        "name another place for it: --index FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_lies_in_its_folder_or_where_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(INDEX_NAME);
        assert_eq!(Place::find(folder.path(), None).unwrap(), Place { path, in_cache: false });
        let wanted = folder.path().join("mine");
        assert_eq!(Place::find(Path::new("/nowhere"), Some(&wanted)).unwrap().path, wanted);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "looking leaves nothing behind");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Place::find(Path::new("."), Some(Path::new("/nowhere/at/all"))).unwrap_err();
        assert_eq!(error.code(), Code::Output);
        assert!(error.message().contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn two_folders_have_two_names_in_the_cache() {
        assert_ne!(cached_name(Path::new("/a")), cached_name(Path::new("/b")));
    }
}

//! The bytes of a bundle: a folder of mapped files, or slices of one mapped archive. Nothing is copied or unpacked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use tar::{Archive, EntryType};

use crate::{Code, Error, Result};

use super::complaint::{FETCH_AGAIN, refuse};
use super::{BundlePath, FileEntry, MANIFEST_NAME, MAX_MANIFEST_BYTES};

const MAX_MEMBERS: usize = 1024;

pub(super) struct Store {
    place: Place,
    /// Files of a folder, and files of which a copy is kept.
    held: BTreeMap<BundlePath, Held>,
}

enum Place {
    Folder(PathBuf),
    Archive { map: Mmap, members: BTreeMap<BundlePath, Range<usize>> },
}

/// How the bytes of an admitted file are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// As a map: costs no memory, and follows whoever writes into the file.
    Map,
    /// As a copy, which nobody else can change.
    Copy,
}

enum Held {
    Map(Mmap),
    Copy(Vec<u8>),
}

impl Store {
    /// Opens a folder or an archive; nothing of it is trusted yet. `bundle` appears in errors.
    pub fn open(path: &Path, bundle: &str) -> Result<Self> {
        let missing = |error: std::io::Error| {
            Error::new(
                Code::Input,
                format!("bundle {bundle}: cannot be opened: {error}"),
                "give the folder that holds lookout.toml, or a .tar of it",
            )
        };
        let root = path.canonicalize().map_err(missing)?;
        let kind = root.metadata().map_err(missing)?;
        if kind.is_dir() {
            return Ok(Self { place: Place::Folder(root), held: BTreeMap::new() });
        }
        if !kind.is_file() || kind.len() == 0 {
            let cause = if kind.is_file() { "the file is empty" } else { "it is neither a folder nor a file" };
            return Err(refuse(bundle, cause, "give the folder that holds lookout.toml, or a .tar of it"));
        }
        let map = map(&File::open(&root).map_err(missing)?).map_err(missing)?;
        let members = strip_folder(members(&map, bundle)?);
        Ok(Self { place: Place::Archive { map, members }, held: BTreeMap::new() })
    }

    /// The bytes of the manifest, of which there may be one more than [`MAX_MANIFEST_BYTES`].
    pub fn manifest(&self, bundle: &str) -> Result<Cow<'_, [u8]>> {
        self.small_file(MANIFEST_NAME, MAX_MANIFEST_BYTES, bundle)?.ok_or_else(|| {
            let cause = format!("it has no {MANIFEST_NAME}");
            refuse(bundle, cause, "give the folder that holds lookout.toml, or a .tar of it")
        })
    }

    /// The bytes of a file that no manifest lists, at most one more than `limit` of them; `None` where there is none.
    pub fn small_file(&self, name: &str, limit: usize, bundle: &str) -> Result<Option<Cow<'_, [u8]>>> {
        match &self.place {
            Place::Folder(root) => {
                if root.join(name).symlink_metadata().is_err() {
                    return Ok(None);
                }
                let (file, _) = open_inside(root, name, bundle)?;
                read(&file, limit as u64 + 1)
                    .map(|bytes| Some(Cow::Owned(bytes)))
                    .map_err(|e| unreadable(bundle, name, e))
            }
            Place::Archive { map, members } => {
                let found = members.iter().find(|(path, _)| path.as_str() == name);
                Ok(found.map(|(_, range)| Cow::Borrowed(&map[range.start..range.end.min(range.start + limit + 1)])))
            }
        }
    }

    /// Finds a file that the manifest lists, checks its size, and holds its bytes from now on.
    pub fn admit(&mut self, entry: &FileEntry, keep: Keep, bundle: &str) -> Result<()> {
        let sized = |bytes: u64| {
            if bytes == entry.bytes {
                return Ok(());
            }
            let cause = match bytes {
                0 => format!("{} is empty, the manifest says {} bytes", entry.path, entry.bytes),
                _ => format!("{} has {bytes} bytes, the manifest says {}", entry.path, entry.bytes),
            };
            Err(refuse(bundle, cause, FETCH_AGAIN))
        };
        let held = match &self.place {
            Place::Folder(root) => {
                let (file, bytes) = open_inside(root, entry.path.as_str(), bundle)?;
                sized(bytes)?;
                let held = match keep {
                    Keep::Map => map(&file).map(Held::Map),
                    Keep::Copy => read(&file, entry.bytes + 1).map(Held::Copy),
                };
                Some(held.map_err(|error| unreadable(bundle, entry.path.as_str(), error))?)
            }
            Place::Archive { map, members } => match members.get(&entry.path) {
                Some(range) => {
                    sized(range.len() as u64)?;
                    (keep == Keep::Copy).then(|| Held::Copy(map[range.clone()].to_vec()))
                }
                None => return Err(absent(bundle, entry.path.as_str())),
            },
        };
        if let Some(held) = held {
            sized(held.len() as u64)?;
            self.held.insert(entry.path.clone(), held);
        }
        Ok(())
    }

    /// The bytes of an admitted file.
    pub fn bytes(&self, path: &BundlePath) -> Option<&[u8]> {
        match (self.held.get(path), &self.place) {
            (Some(held), _) => Some(held),
            (None, Place::Archive { map, members }) => members.get(path).map(|range| &map[range.clone()]),
            (None, Place::Folder(_)) => None,
        }
    }

    /// Gives back the memory that a mapped file takes; whoever reads it again gets it from the disk.
    pub fn release(&self, path: &BundlePath) {
        match (self.held.get(path), &self.place) {
            (Some(Held::Map(map)), _) => drop_pages(map, 0..map.len()),
            (None, Place::Archive { map, members }) => {
                members.get(path).into_iter().for_each(|range| drop_pages(map, range.clone()));
            }
            _ => {}
        }
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Held::Map(map) => map,
            Held::Copy(bytes) => bytes,
        }
    }
}

/// At most `limit` bytes.
fn read(file: &File, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn absent(bundle: &str, file: &str) -> Error {
    refuse(bundle, format_args!("{file} is missing, though the manifest lists it"), FETCH_AGAIN)
}

fn unreadable(bundle: &str, file: &str, error: std::io::Error) -> Error {
    refuse(bundle, format_args!("{file} cannot be read: {error}"), "check the permissions and the disk")
}

/// Opens a file whose links, if any, stay inside `root`. Returns its size in bytes too.
fn open_inside(root: &Path, file: &str, bundle: &str) -> Result<(File, u64)> {
    let path = root.join(file).canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => absent(bundle, file),
        _ => unreadable(bundle, file, error),
    })?;
    if !path.starts_with(root) {
        let cause = format!("{file} is a link that leaves the folder, to {}", path.display());
        return Err(refuse(bundle, cause, "put the file itself into the bundle"));
    }
    let kind = path.metadata().map_err(|error| unreadable(bundle, file, error))?;
    if !kind.is_file() {
        return Err(refuse(bundle, format_args!("{file} is not a file"), FETCH_AGAIN));
    }
    let open = File::open(&path).map_err(|error| unreadable(bundle, file, error))?;
    Ok((open, kind.len()))
}

fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read-only. Bytes that another process writes meanwhile may be seen, which every
    // reader here tolerates (they are plain bytes, checked by whoever parses them); a file cut short meanwhile ends this
    // process by SIGBUS, so whoever replaces a bundle must rename a new file into place, as the documents say.
    unsafe { Mmap::map(file) }
}

#[cfg(unix)]
fn drop_pages(map: &Mmap, range: Range<usize>) {
    // SAFETY: the map is read-only and of a file: a page that is dropped has the file's bytes again when it is read next, so
    // that nothing changes for those who borrow it.
    let dropped = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    if let Err(error) = dropped {
        log::debug!("{} bytes of a bundle stay in memory: {error}", range.len());
    }
}

#[cfg(not(unix))]
fn drop_pages(_: &Mmap, _: Range<usize>) {}

/// The regular files of an archive, each a range of its bytes.
fn members(archive: &[u8], bundle: &str) -> Result<BTreeMap<BundlePath, Range<usize>>> {
    let broken = |error: std::io::Error| refuse(bundle, format_args!("it is no sound tar: {error}"), FETCH_AGAIN);
    let mut found = BTreeMap::new();
    let mut reader = Archive::new(Cursor::new(archive));
    for (count, entry) in reader.entries_with_seek().map_err(broken)?.enumerate() {
        let entry = entry.map_err(broken)?;
        if count == MAX_MEMBERS {
            return Err(refuse(bundle, "it has more than 1024 members", "leave out what the manifest does not list"));
        }
        let written = entry.path_bytes();
        let shown = String::from_utf8_lossy(&written).chars().take(60).collect::<String>();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            kind => {
                let cause = format!("its member {shown:?} is a {}, not a file", kind_name(kind));
                return Err(refuse(bundle, cause, "pack the files themselves: tar -chf NAME.tar -C FOLDER ."));
            }
        }
        let refused = |cause: String| refuse(bundle, cause, "pack it again: tar -chf NAME.tar -C FOLDER .");
        let name = std::str::from_utf8(&written).map_err(|_| refused(format!("its member {shown:?} is not UTF-8")))?;
        let path: BundlePath =
            name.trim_start_matches("./").parse().map_err(|cause| refused(format!("a member: {cause}")))?;
        let (start, size) = (entry.raw_file_position(), entry.size());
        let left = (archive.len() as u64).saturating_sub(start);
        if size > left {
            return Err(refuse(
                bundle,
                format_args!("it is cut short: {path} claims {size} bytes, {left} are left"),
                FETCH_AGAIN,
            ));
        }
        // Both fit, since they lie within a slice.
        let range = start as usize..(start + size) as usize;
        if found.insert(path.clone(), range).is_some() {
            return Err(refused(format!("{path} is in it twice")));
        }
    }
    Ok(found)
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "symbolic link",
        EntryType::Link => "hard link",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "pipe",
        _ => "member of an unusual kind",
    }
}

/// An archive may hold the files, or one folder with the files.
fn strip_folder(members: BTreeMap<BundlePath, Range<usize>>) -> BTreeMap<BundlePath, Range<usize>> {
    if members.keys().any(|path| path.as_str() == MANIFEST_NAME) {
        return members;
    }
    let folder = members.keys().find_map(|path| {
        let (folder, file) = path.as_str().split_once('/')?;
        (file == MANIFEST_NAME).then(|| format!("{folder}/"))
    });
    let Some(folder) = folder else { return members };
    let inside = |path: &BundlePath| path.as_str().strip_prefix(&folder)?.parse().ok();
    members.into_iter().filter_map(|(path, range)| Some((inside(&path)?, range))).collect()
}

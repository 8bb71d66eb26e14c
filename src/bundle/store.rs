//! The bytes of a bundle: a folder of mapped files, or slices of one mapped archive. Nothing is copied or unpacked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use tar::{Archive, EntryType};

use crate::{Code, Error, Result};

use super::complaint::{FETCH_AGAIN, refuse};
use super::{BundlePath, FileEntry, MANIFEST_NAME, MAX_MANIFEST_BYTES};

const MAX_MEMBERS: usize = 1024;

pub(super) enum Store {
    Folder { root: PathBuf, maps: BTreeMap<BundlePath, Mmap> },
    Archive { map: Mmap, members: BTreeMap<BundlePath, Range<usize>> },
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
            return Ok(Self::Folder { root, maps: BTreeMap::new() });
        }
        if !kind.is_file() || kind.len() == 0 {
            let cause = if kind.is_file() { "the file is empty" } else { "it is neither a folder nor a file" };
            return Err(refuse(bundle, cause, "give the folder that holds lookout.toml, or a .tar of it"));
        }
        let map = map(&File::open(&root).map_err(missing)?).map_err(missing)?;
        let members = strip_folder(members(&map, bundle)?);
        Ok(Self::Archive { map, members })
    }

    /// The bytes of the manifest, of which there may be one more than [`MAX_MANIFEST_BYTES`].
    pub fn manifest(&self, bundle: &str) -> Result<Cow<'_, [u8]>> {
        let absent = || {
            let cause = format!("it has no {MANIFEST_NAME}");
            refuse(bundle, cause, "give the folder that holds lookout.toml, or a .tar of it")
        };
        match self {
            Self::Folder { root, .. } => {
                let path = root.join(MANIFEST_NAME);
                if path.symlink_metadata().is_err() {
                    return Err(absent());
                }
                let (file, _) = open_inside(root, MANIFEST_NAME, bundle)?;
                let mut bytes = Vec::new();
                let limit = MAX_MANIFEST_BYTES as u64 + 1;
                std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes)
                    .map_err(|error| unreadable(bundle, MANIFEST_NAME, error))?;
                Ok(Cow::Owned(bytes))
            }
            Self::Archive { map, members } => {
                let found = members.iter().find(|(path, _)| path.as_str() == MANIFEST_NAME);
                Ok(Cow::Borrowed(&map[found.ok_or_else(absent)?.1.clone()]))
            }
        }
    }

    /// Finds a file that the manifest lists, checks its size, and holds its bytes from now on.
    pub fn admit(&mut self, entry: &FileEntry, bundle: &str) -> Result<()> {
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
        match self {
            Self::Folder { root, maps } => {
                let (file, bytes) = open_inside(root, entry.path.as_str(), bundle)?;
                sized(bytes)?;
                let map = map(&file).map_err(|error| unreadable(bundle, entry.path.as_str(), error))?;
                sized(map.len() as u64)?;
                maps.insert(entry.path.clone(), map);
                Ok(())
            }
            Self::Archive { members, .. } => match members.get(&entry.path) {
                Some(range) => sized(range.len() as u64),
                None => Err(absent(bundle, entry.path.as_str())),
            },
        }
    }

    /// The bytes of an admitted file.
    pub fn bytes(&self, path: &BundlePath) -> Option<&[u8]> {
        match self {
            Self::Folder { maps, .. } => maps.get(path).map(|map| &map[..]),
            Self::Archive { map, members } => members.get(path).map(|range| &map[range.clone()]),
        }
    }
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

//! The index: entries, search, and the file's form.
//!
//! All numbers are little endian:
//!
//! ```text
//! magic "LOOKIDX\0" · version u32 = 1 · identity u16 length + UTF-8 · width u32 · entries u64
//! each entry: path u32 length + bytes · size u64 · mtime_ns i64 · kind u8 (0: width x f32 follow, 1: unreadable)
//! CRC-32 (IEEE) of everything before it, u32
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Name of the index in the folder that it describes.
pub const INDEX_NAME: &str = ".lookout-index";

const MAGIC: &[u8; 8] = b"LOOKIDX\0";
const VERSION: u32 = 1;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Embeddings of a folder's pictures, all made by one bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    identity: String,
    width: usize,
    entries: BTreeMap<PathBuf, Entry>,
}

/// One file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Size and time of the file then.
    pub stamp: Stamp,
    /// Its embedding, of length 1; `None` where the file is no readable picture.
    pub embedding: Option<Vec<f32>>,
}

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// A picture that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Path from the indexed folder.
    pub path: PathBuf,
    /// Cosine with what was searched for.
    pub cosine: f32,
}

impl Index {
    /// An empty index for embeddings of `width` floats made by the bundle `identity`.
    pub fn new(identity: &str, width: usize) -> Self {
        Self { identity: identity.to_owned(), width, entries: BTreeMap::new() }
    }

    /// Reads an index, if there is a usable one for this bundle: `Err` says in words why there is not (and nothing where
    /// there is no file). An unusable index is not lost work alone: it is rebuilt.
    pub fn load(path: &Path, identity: &str, width: usize) -> Result<Self, Option<String>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(None),
            Err(error) => return Err(Some(format!("it cannot be read: {error}"))),
        };
        let index = Self::from_bytes(&bytes).map_err(|cause| Some(cause.to_owned()))?;
        if index.identity != identity {
            return Err(Some(format!("it was made by the bundle {}", index.identity)));
        }
        if index.width != width {
            return Err(Some(format!("its embeddings have {} floats", index.width)));
        }
        Ok(index)
    }

    /// Parses the file's form. The error is a cause, to follow the file's name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "it is cut short";
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(CUT)?;
        let mut reader = Reader(body);
        if reader.take(8).ok_or(CUT)? != MAGIC {
            return Err("it is not an index");
        }
        if reader.u32().ok_or(CUT)? != VERSION {
            return Err("it is of another version");
        }
        if CRC.checksum(body) != u32::from_le_bytes(*crc) {
            return Err("it is damaged (wrong checksum)");
        }
        let identity = reader.u16().and_then(|n| reader.take(n.into())).ok_or(CUT)?;
        let identity = std::str::from_utf8(identity).map_err(|_| "its bundle's name is not UTF-8")?.to_owned();
        let width = reader.u32().ok_or(CUT)? as usize;
        let count = reader.u64().ok_or(CUT)?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (path, entry) = reader.entry(width).ok_or(CUT)?;
            entries.insert(path, entry);
        }
        if reader.0.is_empty() { Ok(Self { identity, width, entries }) } else { Err("it has bytes too many") }
    }

    /// The file's form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.entries.len() * (64 + 4 * self.width));
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.identity.len() as u16).to_le_bytes());
        bytes.extend(self.identity.as_bytes());
        bytes.extend((self.width as u32).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (path, entry) in &self.entries {
            let path = path.as_os_str().as_bytes();
            bytes.extend((path.len() as u32).to_le_bytes());
            bytes.extend(path);
            bytes.extend(entry.stamp.size.to_le_bytes());
            bytes.extend(entry.stamp.mtime_ns.to_le_bytes());
            bytes.push(u8::from(entry.embedding.is_none()));
            bytes.extend(entry.embedding.iter().flatten().flat_map(|value| value.to_le_bytes()));
        }
        bytes.extend(CRC.checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Writes the index to a temporary file beside `path`, then renames it: `path` holds the old index or the new one,
    /// never a part of either.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or(OsStr::new(INDEX_NAME)).to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(&self.to_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Number of files it knows, unreadable ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows no file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of pictures that can be found.
    pub fn pictures(&self) -> usize {
        self.entries.values().filter(|entry| entry.embedding.is_some()).count()
    }

    /// What is known of a file.
    pub fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Notes a file. An embedding must have the index's width.
    pub fn insert(&mut self, path: PathBuf, entry: Entry) {
        debug_assert!(entry.embedding.as_ref().is_none_or(|embedding| embedding.len() == self.width));
        self.entries.insert(path, entry);
    }

    /// Forgets every file for which `keep` says no; returns how many.
    pub fn retain(&mut self, mut keep: impl FnMut(&Path) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|path, _| keep(path));
        before - self.entries.len()
    }

    /// The `top` pictures nearest to `query` (of length 1), best first.
    pub fn search(&self, query: &[f32], top: usize) -> Vec<Hit> {
        let mut hits: Vec<(&PathBuf, f32)> = self
            .entries
            .iter()
            .filter_map(|(path, entry)| Some((path, crate::sight::cosine(query, entry.embedding.as_ref()?))))
            .collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1));
        hits.into_iter().take(top).map(|(path, cosine)| Hit { path: path.clone(), cosine }).collect()
    }
}

/// What is left to read. Every step is `None` where too little is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn entry(&mut self, width: usize) -> Option<(PathBuf, Entry)> {
        let length = self.u32()? as usize;
        let path = PathBuf::from(OsStr::from_bytes(self.take(length)?));
        let stamp = Stamp { size: self.u64()?, mtime_ns: self.array().map(i64::from_le_bytes)? };
        let embedding = match self.take(1)? {
            [0] => {
                let floats = self.take(width.checked_mul(4)?)?.as_chunks::<4>().0;
                Some(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            _ => None,
        };
        Some((path, Entry { stamp, embedding }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let mut index = Index::new("lookout-v1@1+0123456789ab", 2);
        let stamp = Stamp { size: 7, mtime_ns: -3 };
        index.insert("a.jpg".into(), Entry { stamp, embedding: Some(vec![1.0, 0.0]) });
        index.insert("b/c.jpg".into(), Entry { stamp, embedding: Some(vec![0.6, 0.8]) });
        index.insert(PathBuf::from(OsStr::from_bytes(b"d\xff.jpg")), Entry { stamp, embedding: None });
        index
    }

    #[test]
    fn what_is_written_is_read_back_even_a_path_that_is_not_utf8() {
        assert_eq!(Index::from_bytes(&sample().to_bytes()), Ok(sample()));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_taken_for_an_index() {
        let bytes = sample().to_bytes();
        for end in 0..bytes.len() {
            assert!(Index::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Index::from_bytes(&flipped).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn a_stated_count_beyond_the_bytes_is_refused_without_allocating_it() {
        let mut body = Index::new("x", 1 << 31).to_bytes();
        body.truncate(body.len() - 12);
        body.extend(u64::MAX.to_le_bytes());
        let crc = CRC.checksum(&body);
        body.extend(crc.to_le_bytes());
        assert_eq!(Index::from_bytes(&body), Err("it is cut short"));
    }

    #[test]
    fn search_gives_the_nearest_first_and_no_unreadable_file() {
        let hits = sample().search(&[0.0, 1.0], 10);
        assert_eq!(hits.iter().map(|hit| hit.path.to_str().unwrap()).collect::<Vec<_>>(), ["b/c.jpg", "a.jpg"]);
        assert_eq!(sample().search(&[0.0, 1.0], 1).len(), 1);
    }

    #[test]
    fn an_index_of_another_bundle_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(INDEX_NAME);
        assert_eq!(Index::load(&path, "a", 2), Err(None));
        sample().save(&path).unwrap();
        assert_eq!(Index::load(&path, "lookout-v1@1+0123456789ab", 2), Ok(sample()));
        let cause = Index::load(&path, "other@1+000000000000", 2).unwrap_err().unwrap();
        assert!(cause.contains("lookout-v1@1+0123456789ab"), "{cause}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}

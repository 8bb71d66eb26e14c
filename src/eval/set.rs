//! A set on disk: a `.tar` of pictures and a `.jsonl` with one row a picture or question.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::picture::Picture;
use crate::{Code, Error, Result};

/// A row longer than this is refused.
const MAX_ROW_BYTES: u64 = 1 << 20;
/// A picture file larger than this is refused.
const MAX_PICTURE_BYTES: u64 = 1 << 28;

/// An opened set. Holds the position of every picture in the archive and nothing of its contents: one row and one
/// picture are in memory at a time.
pub struct Set {
    images: PathBuf,
    archive: File,
    places: HashMap<String, Place>,
    rows: PathBuf,
    limit: usize,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    bytes: u64,
}

/// One row with its line number, for messages.
pub struct Row<T> {
    /// Counted from 1.
    pub line: usize,
    /// What the line says.
    pub body: T,
}

impl Set {
    /// Opens both files and notes where each picture is. With a `limit`, [`Set::rows`] ends after that many rows.
    ///
    /// Errors: a file that is missing or unreadable, an archive that is not a plain tar or holds no files.
    pub fn open(images: &Path, rows: &Path, limit: Option<usize>) -> Result<Self> {
        open_file(rows, "--rows takes a .jsonl file with one JSON object a line")?;
        let archive = open_file(images, "--images takes a .tar of the pictures that the rows name")?;
        let places = index(&archive).map_err(|cause| {
            let message = format!("{} cannot be read as a tar archive: {cause}", images.display());
            Error::new(Code::Input, message, "make it with `tar cf`, without compression")
        })?;
        if places.is_empty() {
            let message = format!("{} holds no files", images.display());
            return Err(Error::new(Code::Input, message, "make it with `tar cf X.tar *.jpg`"));
        }
        let (images, rows) = (images.to_owned(), rows.to_owned());
        Ok(Self { images, archive, places, rows, limit: limit.unwrap_or(usize::MAX) })
    }

    /// Number of rows that [`Set::rows`] will give.
    ///
    /// Errors: no rows at all, or a line beyond the limit of 1 MiB.
    pub fn count_rows(&self) -> Result<usize> {
        let mut lines = Lines::open(&self.rows)?;
        let mut count = 0;
        while count < self.limit && lines.advance()? {
            count += 1;
        }
        if count == 0 {
            let message = format!("{} gives no rows to measure", self.rows.display());
            return Err(Error::new(Code::Input, message, "give at least one row, and a --limit of at least 1"));
        }
        Ok(count)
    }

    /// The rows in file order, blank lines skipped, each read as a `T` when asked for.
    ///
    /// Errors, each naming the line: not JSON, a field that `T` needs missing or of the wrong kind, a line over 1 MiB.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<impl Iterator<Item = Result<Row<T>>> + use<T>> {
        Ok(self.all_rows()?.take(self.limit))
    }

    /// [`Set::rows`] without the limit.
    pub fn all_rows<T: DeserializeOwned>(&self) -> Result<impl Iterator<Item = Result<Row<T>>> + use<T>> {
        let mut lines = Lines::open(&self.rows)?;
        Ok(std::iter::from_fn(move || match lines.advance() {
            Ok(false) => None,
            Ok(true) => Some(lines.row()),
            Err(error) => Some(Err(error)),
        }))
    }

    /// Decodes the picture that a row names.
    ///
    /// Errors: the archive lacks it, ends within it, or the picture cannot be decoded.
    pub fn picture(&self, name: &str, line: usize) -> Result<Picture> {
        let place = self.places.get(name).copied().ok_or_else(|| {
            let (images, rows) = (self.images.display(), self.rows.display());
            let message = format!("{images} has no picture {name}, which line {line} of {rows} names");
            Error::new(Code::Input, message, "give the archive that belongs to these rows")
        })?;
        let bytes = self.read(place).map_err(|cause| {
            let message = format!("{name} cannot be read from {}: {cause}", self.images.display());
            Error::new(Code::Input, message, "the archive seems cut short or damaged: make it anew")
        })?;
        Picture::decode(&bytes, name)
    }

    /// An error about the contents of one row.
    pub fn bad_row(&self, line: usize, cause: &str) -> Error {
        bad_row(&self.rows, line, cause)
    }

    fn read(&self, place: Place) -> std::io::Result<Vec<u8>> {
        if place.bytes > MAX_PICTURE_BYTES {
            return Err(std::io::Error::other(format!("{} bytes are too many for a picture", place.bytes)));
        }
        let mut archive = &self.archive;
        archive.seek(SeekFrom::Start(place.offset))?;
        let mut bytes = Vec::new();
        archive.take(place.bytes).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < place.bytes {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// The lines of a file, one in memory at a time.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = open_file(path, "--rows takes a .jsonl file with one JSON object a line")?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), number: 0, line: Vec::new() })
    }

    /// Reads the next line that is not blank; false at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = self.reader.by_ref().take(MAX_ROW_BYTES + 1).read_until(b'\n', &mut self.line);
            match read {
                Err(cause) => return Err(bad_row(&self.path, self.number, &cause.to_string())),
                Ok(0) => return Ok(false),
                Ok(bytes) if bytes as u64 > MAX_ROW_BYTES => {
                    return Err(bad_row(&self.path, self.number, "it is longer than 1 MiB"));
                }
                Ok(_) if self.line.trim_ascii().is_empty() => {}
                Ok(_) => return Ok(true),
            }
        }
    }

    fn row<T: DeserializeOwned>(&self) -> Result<Row<T>> {
        let body = serde_json::from_slice(&self.line).map_err(|cause| {
            let text = cause.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text);
            bad_row(&self.path, self.number, &format!("{reason} (column {})", cause.column()))
        })?;
        Ok(Row { line: self.number, body })
    }
}

fn bad_row(path: &Path, line: usize, cause: &str) -> Error {
    let message = format!("line {line} of {} is not a row that this task can read: {cause}", path.display());
    Error::new(Code::Input, message, "the README's section on `eval` shows a row for each task")
}

fn open_file(path: &Path, help: &str) -> Result<File> {
    let opened = File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() { Err(std::io::Error::other("it is a folder")) } else { Ok(file) }
    });
    opened.map_err(|cause| Error::new(Code::Input, format!("cannot read {}: {cause}", path.display()), help))
}

/// Where each regular file lies. A name that occurs twice means the later file, as when unpacking.
fn index(archive: &File) -> std::io::Result<HashMap<String, Place>> {
    let mut places = HashMap::new();
    for entry in tar::Archive::new(archive).entries_with_seek()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?.to_string_lossy().into_owned();
            let name = path.trim_start_matches("./").to_owned();
            places.insert(name, Place { offset: entry.raw_file_position(), bytes: entry.size() });
        }
    }
    Ok(places)
}

//! A manifest whose hashes are still to be filled in.

use std::path::Path;

use crate::{Code, Error, Result};

use super::complaint::unparsed;
use super::{Digest, FileEntry, Manifest};

/// Fills in `sha256` and `bytes` of every file that a draft names, from the files in `folder`, and checks the outcome.
/// The draft is a `lookout.toml` that may leave both out. `name` appears in errors.
pub fn fill(draft: &str, name: &str, folder: &Path) -> Result<Manifest> {
    let mut table: toml::Table = draft.parse().map_err(|error| unparsed(name, draft, &error))?;
    let named = table.get_mut("files").and_then(toml::Value::as_table_mut).into_iter().flat_map(toml::Table::iter_mut);
    for (_, entry) in named {
        fill_entry(entry, folder)?;
    }
    if let Some(check) = table.get_mut("check") {
        fill_entry(check, folder)?;
    }
    Manifest::from_bytes(table.to_string().as_bytes(), name)
}

fn fill_entry(entry: &mut toml::Value, folder: &Path) -> Result<()> {
    // What is no table or has no path is told by the parser afterwards, with its place.
    let Some(entry) = entry.as_table_mut() else { return Ok(()) };
    let Some(path) = entry.get("path").and_then(toml::Value::as_str) else { return Ok(()) };
    let path = folder.join(path);
    let bytes = std::fs::read(&path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Error::new(Code::Input, message, "paths of a draft are taken from its own folder")
    })?;
    entry.insert("sha256".to_owned(), Digest::of(&bytes).to_string().into());
    entry.insert("bytes".to_owned(), (bytes.len() as i64).into());
    Ok(())
}

impl FileEntry {
    /// The entry of a file with these bytes. Errors where `path` would leave the bundle.
    pub fn of(path: &str, bytes: &[u8]) -> Result<Self> {
        let path = path.parse().map_err(|cause: String| Error::new(Code::Bundle, cause, "give a plain name"))?;
        Ok(Self { path, sha256: Digest::of(bytes), bytes: bytes.len() as u64, quantisation: None })
    }
}

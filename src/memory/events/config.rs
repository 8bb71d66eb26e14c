//! The configuration of the memory, and where it lies.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result};

/// The table `[memory]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Where it lies; [`default_folder`] where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Days that an event is kept.
    pub days: u32,
    /// Most bytes on the disk, as `"2GB"`. The oldest events go first.
    pub bytes: ByteSize,
    /// Most bytes of embeddings that a search keeps in memory. What does not fit is read from the disk by each search
    /// that goes so far back.
    pub search_bytes: ByteSize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { folder: None, days: 30, bytes: ByteSize::gb(2), search_bytes: ByteSize::mb(512) }
    }
}

impl MemoryConfig {
    /// Least value of `bytes`.
    pub const LEAST_BYTES: ByteSize = ByteSize::mb(4);

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<()> {
        if self.days == 0 || self.days > 36_500 {
            let message = format!("memory: `days` is {}, not 1 to 36500", self.days);
            return Err(Error::new(Code::Config, message, "30 is what is used where nothing is said"));
        }
        if self.bytes < Self::LEAST_BYTES {
            let message = format!("memory: `bytes` is {}, less than {}", self.bytes, Self::LEAST_BYTES);
            return Err(Error::new(Code::Config, message, "write for example: bytes = \"2GB\""));
        }
        Ok(())
    }
}

/// Where the memory lies unless something else is said: `$STATE_DIRECTORY` (which systemd sets), else
/// `/var/lib/lookout` if it exists, else `$XDG_STATE_HOME/lookout`, else `~/.local/state/lookout`. Errors where none of
/// them can be told.
pub fn default_folder() -> Result<PathBuf> {
    choose(|name| std::env::var_os(name).map(PathBuf::from), PathBuf::from("/var/lib/lookout")).ok_or_else(|| {
        let message = "there is no place for the memory of events: neither STATE_DIRECTORY nor HOME is set";
        Error::new(Code::Memory, message, "name a folder for it")
    })
}

fn choose(variable: impl Fn(&str) -> Option<PathBuf>, system: PathBuf) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    // Where a unit has several state directories they come with colons between them.
    let state = variable("STATE_DIRECTORY")
        .and_then(|all| all.to_str().map_or(Some(all.clone()), |all| all.split(':').next().map(PathBuf::from)));
    state
        .filter(|path| path.is_absolute())
        .or_else(|| system.is_dir().then_some(system))
        .or_else(|| absolute("XDG_STATE_HOME").map(|home| home.join("lookout")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/lookout")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_units_then_the_systems_then_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().to_owned(), folder.path().join("missing"));
        let with = |set: &'static [(&str, &str)], system: &PathBuf| {
            choose(
                |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value)),
                system.clone(),
            )
        };
        assert_eq!(with(&[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/h")], &there), Some("/a".into()));
        assert_eq!(with(&[("HOME", "/h")], &there), Some(there.clone()));
        assert_eq!(with(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], &missing), Some("/x/lookout".into()));
        assert_eq!(with(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], &missing), Some("/h/.local/state/lookout".into()));
        assert_eq!(with(&[("STATE_DIRECTORY", "")], &missing), None);
    }

    #[test]
    fn a_config_names_bytes_as_people_do_and_refuses_nonsense() {
        let read = |text: &str| toml::from_str::<MemoryConfig>(text).map_err(|e| e.message().to_owned());
        assert_eq!(read("").unwrap(), MemoryConfig::default());
        assert_eq!(read("bytes = \"500MB\"\ndays = 7").unwrap().bytes, ByteSize::mb(500));
        assert!(read("byte = \"500MB\"").unwrap_err().contains("unknown field"));
        assert!(read("bytes = \"lots\"").is_err());
        for (text, cause) in [("days = 0", "`days`"), ("bytes = \"1kB\"", "`bytes`")] {
            let error = read(text).unwrap().check().unwrap_err();
            assert!(error.message().contains(cause) && error.code() == Code::Config, "{error}");
        }
    }
}

//! Putting a damaged database aside, with its write-ahead log, so that somebody can look at it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files that are kept at most. The last is replaced where all are taken: a card that dies must not fill itself.
const MOST: u32 = 10;

/// Renames `events.db` to `events.db.bad`, or `events.db.bad.1` and so on where that exists; its `-wal`, `-shm` and
/// `-journal` go along, under names by which SQLite finds them again. Returns the new name.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| with_end(path, &if number == 0 { ".bad".to_owned() } else { format!(".bad.{number}") });
    let free = |number: &u32| !name(*number).exists() && !with_end(&name(*number), "-wal").exists();
    let bad = name((0..MOST).find(free).unwrap_or(MOST - 1));
    for end in ["", "-wal", "-shm", "-journal"] {
        match fs::rename(with_end(path, end), with_end(&bad, end)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = fs::remove_file(with_end(&bad, end));
            }
            other => other?,
        }
    }
    Ok(bad)
}

/// `path` with `end` after its last letter.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut whole = OsString::from(path);
    whole.push(end);
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_before_is_not_overwritten_and_the_log_goes_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        for (content, expected) in [("one", "events.db.bad"), ("two", "events.db.bad.1"), ("three", "events.db.bad.2")]
        {
            fs::write(&path, content).unwrap();
            fs::write(with_end(&path, "-wal"), content).unwrap();
            let bad = set_aside(&path).unwrap();
            assert_eq!(bad, folder.path().join(expected));
            assert_eq!(fs::read_to_string(with_end(&bad, "-wal")).unwrap(), content);
            assert!(!path.exists() && !with_end(&path, "-wal").exists());
        }
        assert_eq!(fs::read_to_string(folder.path().join("events.db.bad")).unwrap(), "one");
    }

    #[test]
    fn a_dying_card_is_not_filled_with_damaged_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        for count in 0..30 {
            fs::write(&path, count.to_string()).unwrap();
            set_aside(&path).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST as usize);
        assert_eq!(fs::read_to_string(folder.path().join("events.db.bad.9")).unwrap(), "29");
    }
}

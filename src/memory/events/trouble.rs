//! What SQLite says, in words.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::{Error as Sql, ErrorCode};

use crate::{Code, Error};

use super::aside::with_end;

/// Bytes that must fit on the disk for it not to be full: twice what SQLite's shared memory begins with.
const ROOM: usize = 64 << 10;

/// `deed` names what could not be done: "the event 7 cannot be stored".
pub(super) fn trouble(deed: &str, path: &Path, error: &Sql) -> Error {
    let full = needs_room(error) && is_full(path);
    let help = match error.sqlite_error_code() {
        _ if full => "make room on the disk; what waits is then written by itself",
        Some(ErrorCode::DiskFull) => "make room on the disk; what waits is then written by itself",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check that the folder exists and that this user may write into it"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program holds the file; close it",
        Some(ErrorCode::SystemIoFailure) => "check the disk: its cable, its file system, whether it is full",
        _ if is_damage(error) => "the file is damaged; a lookout that runs puts it aside and starts anew",
        _ => "run with RUST_LOG=debug, and report this",
    };
    let full = if full { "the disk is full: " } else { "" };
    Error::new(Code::Memory, format!("{deed}: {}: {full}{}", path.display(), cause(error)), help)
}

/// Whether SQLite says this of a file that it cannot make or enlarge, besides other things: the log and its shared memory.
pub(super) fn needs_room(error: &Sql) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

/// Whether there is no room for another file beside the database at `path`. It is tried: blocks, names and quotas are all
/// what a disk can lack.
pub(super) fn is_full(path: &Path) -> bool {
    let probe = with_end(path, "-room");
    let tried = fs::write(&probe, [0x5A; ROOM]);
    let _ = fs::remove_file(&probe);
    tried.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// The cause alone.
pub(super) fn cause(error: &Sql) -> String {
    match error {
        Sql::SqliteFailure(code, message) => {
            let told = message.clone().unwrap_or_else(|| code.to_string());
            if code.code == ErrorCode::SystemIoFailure { format!("{told} ({})", code.extended_code) } else { told }
        }
        other => other.to_string(),
    }
}

/// Whether the file's content is to blame.
pub(super) fn is_damage(error: &Sql) -> bool {
    match error {
        Sql::SqliteFailure(..) => {
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        }
        Sql::InvalidColumnType(..) | Sql::IntegralValueOutOfRange(..) | Sql::FromSqlConversionFailure(..) => true,
        Sql::Utf8Error(..) => true,
        _ => false,
    }
}

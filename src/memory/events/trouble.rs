//! What SQLite says, in words.

use std::path::Path;

use rusqlite::{Error as Sql, ErrorCode};

use crate::{Code, Error};

/// `deed` names what could not be done: "the event 7 cannot be stored".
pub(super) fn trouble(deed: &str, path: &Path, error: &Sql) -> Error {
    let help = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on the disk; what waits is then written by itself",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check that the folder exists and that this user may write into it"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program holds the file; close it",
        Some(ErrorCode::SystemIoFailure) => "check the disk: its cable, its file system, whether it is full",
        _ if is_damage(error) => "the file is damaged; a lookout that runs puts it aside and starts anew",
        _ => "run with RUST_LOG=debug, and report this",
    };
    Error::new(Code::Memory, format!("{deed}: {}: {}", path.display(), cause(error)), help)
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

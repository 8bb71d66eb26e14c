//! The memory of events: one SQLite database, `events.db`, in a folder of its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | the configuration, and where the memory lies |
//! | `database` | opening the file: pragmas, schema, migrations, checks |
//! | `aside` | putting a damaged file aside |
//! | `write` | one report in one transaction |
//! | `pending` | what waits in memory while the disk cannot be written |
//! | `keep` | retention by days and by bytes |
//! | `store` | the store: all of it behind one door |
//! | `shared` | the one writer, and what waits while it cannot write |
//! | `file` | the file under the writer: opened, put aside, opened anew |
//! | `care` | the thread that tries again and drops |
//! | `outbox` | messages that wait for the broker |
//! | `read` | reading, beside a writer or from another process |
//! | `search`, `matrix`, `best` | search by embedding |
//! | `trouble` | what SQLite says, in words |
//!
//! # What is on the disk, and when
//! An event, its snapshot, its embedding and its message in the outbox are written in one transaction, so a power cut
//! leaves all of them or none. `synchronous = FULL` in WAL mode: when [`EventStore::record`] returns `Ok`, the report is
//! on the disk. Snapshots are blobs in the database, in a table of their own: as files they would need a second and a
//! third sync (the file and its folder) for each event, could be there without their event or the other way round, and
//! their size would have to be counted by walking folders. Nothing is written when nothing happens.
//!
//! # A disk without room
//! What cannot be written waits in memory and is written when there is room, whether the disk fills up meanwhile or is full at the
//! start. SQLite then cannot even make its shared memory, so reads are done by whoever has the file alone for that moment,
//! or in an empty memory where the file was never finished: what was set and kept before is known all the same.
//!
//! # Limits
//! | what | bound |
//! |---|---|
//! | disk | `bytes`, plus the write-ahead log (4 MiB, more while a large transaction runs) |
//! | reports in memory while the disk cannot be written | 1,000, with 32 MiB of snapshots |
//! | embeddings in memory | `search_bytes`, about 420 bytes each; loaded by the first search, dropped after ten idle minutes |
//!
//! # Clocks that jump
//! Ids grow whatever the clock does, and order events. See `keep` for what that means for retention.

mod aside;
mod best;
mod care;
mod config;
mod database;
mod file;
mod keep;
mod matrix;
mod outbox;
mod pending;
mod read;
mod search;
mod shared;
mod store;
mod trouble;
mod write;

pub use config::{MemoryConfig, default_folder};
pub use read::{EventFilter, EventReader};
pub use store::EventStore;

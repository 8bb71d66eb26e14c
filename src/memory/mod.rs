//! Embeddings of pictures on disk, and search among them.
//!
//! An `Index` holds one entry for each picture of a folder, keyed by its path from there, and is bound to the bundle
//! that made it. `refresh` brings it up to date and embeds only what is new or changed; `Place` says where it lies.
//! A search is one pass over all embeddings (384 floats each: about 1.5 KiB a picture, in the file and in memory).

#[cfg(feature = "events")]
mod events;
#[cfg(feature = "engine")]
mod index;
#[cfg(feature = "events")]
mod outbox;
#[cfg(feature = "engine")]
mod place;
#[cfg(feature = "engine")]
mod refresh;

#[cfg(feature = "events")]
pub use events::{EventFilter, EventReader, EventStore, MemoryConfig, default_folder};
#[cfg(feature = "engine")]
pub use index::{Entry, Hit, INDEX_NAME, Index, Stamp};
#[cfg(feature = "events")]
pub use outbox::{Outbox, Waiting};
#[cfg(feature = "engine")]
pub use place::Place;
#[cfg(feature = "engine")]
pub use refresh::{Refreshed, is_picture_name, refresh};

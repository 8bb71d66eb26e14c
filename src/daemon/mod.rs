//! All of it running together: the configuration, starting, reloading and ending.
//!
//! | thread | what it does |
//! |---|---|
//! | one a camera | takes frames; the newest wins |
//! | `watch` | looks, decides, answers |
//! | `keeper` | writes events to the memory, then lets the links and the actions hear them |
//! | `acts` | GPIO outputs and commands of triggers |
//! | `bundle`, now and then | opens and tries a new bundle beside the one in use |
//! | one or two a link | MQTT, serial, web |
//! | the main one | signals, the watchdog, temperature |
//!
//! A report is on the disk before anybody hears of it.

mod acts;
mod bundles;
mod config;
mod hub;
mod keeper;
mod machine;
mod plan;
mod running;
mod triggers;

pub use config::{CameraSection, Config};
pub use plan::describe;
pub use running::{Daemon, Start, memory_folder, run};

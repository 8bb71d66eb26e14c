//! Updates of a whole system that cannot brick: two slots, a count of tries, and signed files.
//!
//! A card that `lookout flash image` made has two slots, each a file system that is only read. An update is written into
//! the slot that is not running and is then tried: at the next start that slot is booted, at most so many times. Once
//! the daemon has answered a question the slot is confirmed. If it never does, the board boots the slot before again.
//! The choice is made by `boards/image/slots.sh`, the first program of the system, which reads and writes the same
//! records.
//!
//! | file | what it holds |
//! |---|---|
//! | `record` | which slot is good, and which is tried: two sectors of the card, written in turn |
//! | `card` | where this system's card is, and which slot runs |
//! | `package` | a signed update: opening, checking and making it |
//! | `install` | writing an update into the other slot |

mod card;
mod install;
mod package;
mod record;

pub use card::{Card, Lock};
pub use install::{Stage, back, install};
#[cfg(feature = "sign")]
pub use package::make;
pub use package::{Manifest, Package, SIGNATURE};
pub use record::{Ask, Medium, Record, Records, Slot, TRIES, check_name};

//! Images of memory cards: making one, and writing it to a card and to nothing else.
//!
//! | file | what it holds |
//! |---|---|
//! | `device` | the block devices of this machine, and what each is used for |
//! | `write` | writing, and reading back |
//! | `image` | making an image |
//! | `recipe` | the boards, and the files that an image is made by |
//! | `layout` | where what lies in an image |
//! | `settings` | the plain file on the boot partition |

mod device;
#[cfg(feature = "update")]
mod image;
#[cfg(feature = "update")]
mod layout;
#[cfg(feature = "update")]
mod recipe;
#[cfg(feature = "update")]
mod settings;
mod write;

pub use device::Device;
#[cfg(feature = "update")]
pub use image::{Made, Plan};
#[cfg(feature = "update")]
pub use settings::Settings;
pub use write::{Stage, check, write};

//! Writing an image to a memory card, and not to anything else.
//!
//! | file | what it holds |
//! |---|---|
//! | `device` | the block devices of this machine, and what each is used for |
//! | `write` | writing, and reading back |

mod device;
mod write;

pub use device::Device;
pub use write::{Stage, write};

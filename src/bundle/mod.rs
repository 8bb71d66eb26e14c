//! A model bundle: what the manifest says, the files it lists, and opening it safely.
//!
//! A bundle is a folder, or one uncompressed `.tar` of it, with a `lookout.toml` and the files that it names. Whatever
//! comes out of here has been checked: every number of the manifest is in range, every path stays inside the bundle,
//! every file has the size that the manifest states. Hashes cost a read of every byte and are checked by
//! [`Bundle::verify`], and by [`Bundle::open_trusting`], which asks for a signature.
//!
//! | file | what it holds |
//! |---|---|
//! | `document` | the sections of `lookout.toml` as plain types |
//! | `fields` | the types of single values, each checked as it is parsed |
//! | `manifest` | a checked manifest, and the rules that span sections |
//! | `complaint` | a parse error in words, with the line and the nearest known key |
//! | `store` | the bytes: a folder of maps, or slices of one mapped archive |
//! | `open` | opening, verifying and finding a bundle |
//! | `pairs` | stored inputs and outputs for `bundle check` |
//! | `trust` | whose signature is believed |
//! | `sign` | making keys and signatures |
//! | `draft` | a manifest whose hashes are still to be filled in |
//! | `version` | which of two versions is the older one |
//! | `slots` | two places for bundles and a link to the one in use, safe against power cuts |

mod complaint;
mod document;
#[cfg(feature = "sign")]
mod draft;
mod fields;
mod manifest;
mod open;
mod pairs;
#[cfg(feature = "sign")]
mod sign;
mod slots;
mod store;
mod trust;
mod version;

pub use document::{
    Calibration, Document, Embedding, FileEntry, PatchGrid, PictureInput, Presence, Role, Speaker, TextInput, Things,
    TowerFilter, TowerRule, WordCheck,
};
#[cfg(feature = "sign")]
pub use draft::fill;
pub use fields::{BundlePath, Digest};
pub use manifest::{FORMAT, MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest};
pub use open::{Bundle, Signer};
pub use pairs::{ImagePair, Pairs, STORED, TextPair, agreement};
#[cfg(feature = "sign")]
pub use sign::{KeyPair, SigningKey};
pub use slots::{Installed, Slots, previous};
#[cfg(feature = "update")]
pub(crate) use trust::Signed;
pub use trust::{SIGNATURE_NAME, Trust};
pub use version::compare_versions;

//! The cameras that the kernel knows.

use std::path::PathBuf;

use serde::Serialize;

use crate::Result;

/// A camera of the kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Its device, for `v4l2://`.
    pub path: PathBuf,
    /// The name its driver gives it.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What it can give.
    pub formats: Vec<FoundFormat>,
}

/// A pixel format that a camera can give.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundFormat {
    /// Its four letters.
    pub name: String,
    /// In words.
    pub description: String,
    /// Widths and heights in pixels; the smallest and the largest where any between them will do.
    pub sizes: Vec<[u32; 2]>,
    /// Whether it can be read here.
    pub known: bool,
}

/// The cameras of the kernel, by the number of their device. Those that another user owns are left out.
pub fn list() -> Result<Vec<Found>> {
    #[cfg(feature = "v4l2")]
    return super::v4l2::found();
    #[cfg(not(feature = "v4l2"))]
    Err(no_v4l2())
}

#[cfg(not(feature = "v4l2"))]
pub(super) fn no_v4l2() -> crate::Error {
    crate::Error::new(
        crate::Code::Unsupported,
        "this build reads no cameras of the kernel",
        "build with the feature `v4l2`, or use folder:, http:// or cmd:",
    )
}

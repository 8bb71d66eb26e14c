//! The serial link over pseudo terminals, clean and noisy.
#![cfg(feature = "serial")]

mod common;
mod frames;
mod lines;
mod noise;
mod overhead;
#[cfg(feature = "cli")]
mod query;
mod reconnect;

//! The page and the HTTP interface.
#![cfg(feature = "web")]

mod api;
mod bad_input;
mod browser;
mod common;
mod in_browser;
mod metrics;

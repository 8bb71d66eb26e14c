//! Sources of pictures: folders, commands, HTTP.
#![cfg(feature = "camera")]

mod command;
mod common;
mod folder;
mod http;

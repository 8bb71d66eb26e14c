//! lookout: a vision-language runtime for small boards.
//!
//! A frame walks through the house in one direction; nothing to the left knows what is to its right:
//!
//! `camera` → `picture` → `engine` (towers, speaker, grounder) → `sight` (label, caption, ground, ask, check) → `watch`
//! (gate, triggers, events) → `memory` → `link` (MQTT, serial, web) → `daemon`
//!
//! | room | feature | what it holds |
//! |---|---|---|
//! | [`protocol`] | always, `no_std` | messages and framing, shared with firmware |
//! | `error` | `std` | the one error type |
//! | `picture` | `picture` | decode, resize, normalise, draw boxes |
//! | `camera` | `camera` | whatever gives frames: V4L2, files, folders, HTTP, commands |
//! | `text` | `text` | tokenizer, prompts, greedy and beam decoding |
//! | `bundle` | `bundle` | a model bundle: manifest, hashes, opening it |
//! | `kernels` | `kernels` | int8 matrix products and element-wise loops, one file an instruction set |
//! | `engine` | `engine` | tract sessions and the int8 operators |
//! | `sight` | `engine` | what one can ask of a picture |
//! | `watch` | `watch` | when to look, triggers in words, events, and the desk where questions are asked |
//! | `memory` | `engine`, `events` | embeddings of pictures and events on disk, and search |
//! | `board` | `board` | GPIO, temperature, systemd |
//! | `link` | `mqtt`, `serial`, `web` | the ways out |
//! | `daemon` | `daemon` | the configuration, and all of it running together |
//! | `eval` | `engine` | the published metrics, over a `.tar` and a `.jsonl` |
//! | `flash` | `flash` | writing an image to a memory card, and making one (`update`) |
//! | `update` | `update` | two slots for a whole system, and signed updates of it |
//! | `cli` | `cli` | one file a subcommand |
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

pub mod protocol;

#[cfg(feature = "board")]
pub mod board;
#[cfg(feature = "bundle")]
pub mod bundle;
#[cfg(feature = "camera")]
pub mod camera;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(any(feature = "bundle", feature = "watch"))]
mod complaint;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "std")]
pub mod error;
#[cfg(feature = "engine")]
pub mod eval;
#[cfg(feature = "flash")]
pub mod flash;
#[cfg(feature = "kernels")]
pub mod kernels;
#[cfg(feature = "watch")]
pub mod link;
#[cfg(any(feature = "engine", feature = "events"))]
pub mod memory;
#[cfg(any(feature = "bundle", feature = "camera"))]
mod nearest;
#[cfg(feature = "picture")]
pub mod picture;
#[cfg(feature = "camera")]
mod said;
#[cfg(feature = "camera")]
mod seconds;
#[cfg(any(feature = "engine", feature = "watch"))]
pub mod sight;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "update")]
pub mod update;
#[cfg(feature = "watch")]
pub mod watch;

#[cfg(feature = "std")]
pub use error::{Code, Error, Result};

//! lookout: a vision-language runtime for small boards.
//!
//! A frame walks through the house in one direction; nothing to the left knows what is to its right:
//!
//! `picture` → `engine` (towers, speaker, grounder) → `sight` (label, caption, ground, ask, check) → `memory`
//!
//! | room | feature | what it holds |
//! |---|---|---|
//! | [`protocol`] | always, `no_std` | messages and framing, shared with firmware |
//! | `error` | `std` | the one error type |
//! | `picture` | `picture` | decode, resize, normalise, draw boxes |
//! | `text` | `text` | tokenizer, prompts, greedy and beam decoding |
//! | `bundle` | `bundle` | a model bundle: manifest, hashes, opening it |
//! | `kernels` | `kernels` | int8 matrix products and element-wise loops, one file an instruction set |
//! | `engine` | `engine` | tract sessions and the int8 operators |
//! | `sight` | `engine` | what one can ask of a picture |
//! | `memory` | `engine` | embeddings of pictures on disk, and search |
//! | `eval` | `engine` | the published metrics, over a `.tar` and a `.jsonl` |
//! | `cli` | `cli` | one file a subcommand |
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

pub mod protocol;

#[cfg(feature = "bundle")]
pub mod bundle;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "std")]
pub mod error;
#[cfg(feature = "engine")]
pub mod eval;
#[cfg(feature = "kernels")]
pub mod kernels;
#[cfg(feature = "engine")]
pub mod memory;
#[cfg(feature = "picture")]
pub mod picture;
#[cfg(feature = "engine")]
pub mod sight;
#[cfg(feature = "text")]
pub mod text;

#[cfg(feature = "std")]
pub use error::{Code, Error, Result};

//! The tokenizer and the choice of words.
#![cfg(feature = "text")]

mod like_reference;
mod speaking;

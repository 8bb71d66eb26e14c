//! Picture files: decoded and resized as elsewhere, refused where they are bad.
#![cfg(feature = "picture")]

mod bad_input;
mod like_pillow;

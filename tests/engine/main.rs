//! The operators inside tract, the towers, and the models of others.
#![cfg(feature = "engine")]

mod attention;
mod calibrated;
mod exports;
mod graph;
mod ops;
mod recognise;
mod recognise_more;
mod reference;
mod strips;
mod towers;
mod wrapped;

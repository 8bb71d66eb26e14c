//! `lookout eval`: its sets, its runs, its figures.
#![cfg(feature = "engine")]

mod metrics;
mod run;
mod set;

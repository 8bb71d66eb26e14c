//! A fleet on one machine, for `make bench-fleet`.
//!
//!     cargo run --release --example fleet -- storm [--devices 1000] [--seconds 30] ...
//!     cargo run --release --example fleet -- events 1000000     # made-up events, as lines for benches/fleet_search.py
//!     cargo run --release --example fleet -- questions 100      # words that none of them was made of

mod events;
mod storm;
mod taker;

#[path = "../../tests/common/peers/broker.rs"]
#[allow(dead_code)]
mod broker;
#[path = "../../tests/common/desk.rs"]
mod desk;

use std::time::Duration;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["storm", ref options @ ..] => storm::run(&storm::Plan::read(options)?),
        ["events", count] => events::print(count.parse()?),
        ["questions", count] => events::questions(count.parse()?),
        _ => Err("one of: storm [OPTIONS], events COUNT, questions COUNT".into()),
    }
}

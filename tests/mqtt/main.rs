//! MQTT with a real broker, one device and many.
#![cfg(feature = "mqtt")]

mod fleet_broker;
#[cfg(feature = "cli")]
mod fleet_search;
mod home_assistant;
mod nothing_lost;
mod overhead;
#[path = "../common/peers/mod.rs"]
mod peers;
mod questions;
mod security;

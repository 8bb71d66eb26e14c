//! The board under the program: GPIO by embedded-hal's traits, temperature, and systemd.

mod config;
mod debounce;
mod inputs;
mod outputs;
mod polarity;
pub mod service;
mod thermal;

pub use config::{BoardConfig, Deed, InputConfig, Pin};
pub use debounce::Debounced;
pub use inputs::Inputs;
pub use outputs::{Outputs, Switch};
pub use thermal::{Heat, Thermal};

//! What a board beside a lookout does, without the board: a motion sensor or a button asks, the answer is shown on a small
//! display and by a lamp of three colours. Generic over [`embedded_hal`] and [`embedded_io`]; no `std`, no heap.
//!
//! | file | what it holds |
//! |---|---|
//! | `panel` | the state: what is asked, what is known about the line, what is to be seen |
//! | `view` | what is to be seen, in words and a colour |
//! | `screen` | a view on 128 x 64 pixels |
//! | `oled` | an SSD1306 that may come and go |
//! | `input`, `lamp` | pins |
//! | `node` | all of it on one board |
//! | `settings` | what is asked: change it here |
#![no_std]

mod input;
mod lamp;
mod node;
mod oled;
mod panel;
pub mod screen;
mod settings;
mod view;

pub use input::Debounced;
pub use lamp::{Colour, Lamp};
pub use node::Node;
pub use oled::Oled;
pub use panel::{Cause, Note, Panel};
pub use settings::{SETTINGS, Settings};
pub use view::View;

/// Milliseconds since the board started.
pub type Millis = u64;

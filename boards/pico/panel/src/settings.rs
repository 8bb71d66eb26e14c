//! What is asked, and what the lamp says about it.

use lookout::protocol::Question;

use crate::Colour;

/// What this board asks.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What motion asks about, and the colour of the lamp for each answer.
    pub labels: &'static [(&'static str, Colour)],
    /// What the button asks.
    pub button: (Question, &'static str),
    /// Bits a second on the line, to tell on the display.
    pub baud: u32,
}

/// The settings that are built in. Say in `labels` also what is to be seen when nothing happens.
pub const SETTINGS: Settings = Settings {
    labels: &[
        ("a person", Colour::Red),
        ("a dog", Colour::Green),
        ("a cat", Colour::Cyan),
        ("an empty room", Colour::White),
    ],
    button: (Question::Caption, ""),
    baud: 115_200,
};

//! A stream of bytes to lines and frames.

#[cfg(test)]
mod tests;

use crate::protocol::{Bad, MAX_FRAME, Message, decode};

/// Most bytes in a line.
pub const MAX_LINE: usize = 4_096;

/// Most bytes between the zeros of a frame.
const MAX_BODY: usize = MAX_FRAME - 2;

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7F;
const ESCAPE: u8 = 0x1B;
/// Ctrl-C and Ctrl-U, which drop the line.
const INTERRUPT: u8 = 0x03;
const KILL: u8 = 0x15;

/// Tells the two forms apart, byte by byte and in whatever portions they come. Between two ends (a zero, a return, a
/// newline) bytes are held, [`MAX_LINE`] at most; what they are shows at the end:
///
/// - At a zero they are a frame, or damage.
/// - At a return or newline they are a line, if they could be typed. The second byte of every frame's body is the
///   protocol's version, which cannot be typed, so a frame may hold any byte.
/// - In silence, what cannot be typed is dropped; what can stays, as people type slowly.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    /// The byte before the held ones was a zero: they may be the body of a frame.
    behind_zero: bool,
    /// A held byte cannot be typed.
    untypable: bool,
    skipping: Option<Skip>,
    /// The last byte ended a line as a return, so that a newline belongs to it.
    returned: bool,
    escape: Escape,
    /// What a terminal should show of what was typed, where that is wanted.
    echo: Option<Vec<u8>>,
}

/// What came of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is handled at once, a box would cost more")]
pub enum Split {
    /// A line, without its end and as edited by backspace, and without blanks around it. Empty for a bare Enter.
    Line(String),
    /// A message.
    Frame(Message),
    /// Bytes that are neither.
    Bad(Damage),
}

/// Why bytes are neither a line nor a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The bytes between two zeros are no message.
    Frame(Bad),
    /// More bytes without a zero than the largest frame has.
    LongFrame,
    /// More than [`MAX_LINE`] bytes without an end of line.
    LongLine,
    /// The bytes before an end of line cannot be typed.
    Noise,
    /// The bytes before a silence cannot be typed: half a frame, or noise.
    Half,
}

/// Dropping until the end of what was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    Line,
    Frame,
}

/// Where a terminal's escape sequence (an arrow key) stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    Parameters,
}

impl Splitter {
    /// Holds nothing, echoes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `bytes` until something can be said, and moves `bytes` past them. Says `None` when
    /// all were taken.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Split> {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.held_end() && !is_version(*byte) {
                return Some(self.empty_line());
            }
            *bytes = rest;
            let split = self.take(*byte);
            if split.is_some() {
                return split;
            }
        }
        None
    }

    /// To be called when nothing has come for a while: half a second is longer than any pause within a frame.
    pub fn silence(&mut self) -> Option<Split> {
        if self.held_end() {
            return Some(self.empty_line());
        }
        if self.skipping == Some(Skip::Frame) {
            self.skipping = None;
        }
        let half = self.untypable;
        if half {
            self.clear();
        }
        self.behind_zero = false;
        half.then_some(Split::Bad(Damage::Half))
    }

    /// Forgets what is held, as after reopening a port.
    pub fn reset(&mut self) {
        self.clear();
        self.behind_zero = false;
        self.skipping = None;
        self.returned = false;
        self.escape = Escape::None;
    }

    /// Whether what is typed is to be shown by [`Splitter::echoed`].
    pub fn echo(&mut self, wanted: bool) {
        self.echo = wanted.then(Vec::new);
    }

    /// What a terminal should show since the last call.
    pub fn echoed(&mut self) -> Option<Vec<u8>> {
        let echo = self.echo.as_mut().filter(|echo| !echo.is_empty())?;
        Some(std::mem::take(echo))
    }

    fn take(&mut self, byte: u8) -> Option<Split> {
        let returned = std::mem::take(&mut self.returned);
        match byte {
            0 => self.zero(),
            b'\n' if returned => None,
            b'\r' | b'\n' => self.end(byte),
            _ if self.skipping.is_some() => None,
            _ if self.is_typing() => self.key(byte),
            _ => self.push(byte),
        }
    }

    fn zero(&mut self) -> Option<Split> {
        let skipped = self.skipping.take().is_some();
        let split = match &mut self.held[..] {
            [] => None,
            _ if skipped => None,
            body if body.len() > MAX_BODY => Some(Split::Bad(Damage::LongFrame)),
            body => Some(decode(body).map_or_else(|bad| Split::Bad(Damage::Frame(bad)), Split::Frame)),
        };
        self.clear();
        self.behind_zero = true;
        split
    }

    fn end(&mut self, byte: u8) -> Option<Split> {
        if self.skipping.is_none() && self.behind_zero && (self.held.is_empty() || self.is_body()) {
            return self.push(byte);
        }
        let line = if self.untypable { None } else { line(&self.held) };
        let skipped = self.skipping.take().is_some();
        self.clear();
        self.behind_zero = false;
        self.returned = byte == b'\r';
        self.show(b"\r\n");
        match line {
            _ if skipped => None,
            Some(line) => Some(Split::Line(line)),
            None => Some(Split::Bad(Damage::Noise)),
        }
    }

    /// Whether the held bytes are the beginning of a frame's body rather than of a line.
    fn is_body(&self) -> bool {
        match self.held[..] {
            [] => false,
            [_] => self.untypable,
            [_, version, ..] => is_version(version) && (self.untypable || line(&self.held).is_none()),
        }
    }

    /// Whether the only held byte is an end of line right behind a zero. The byte after it tells whether it was Enter or
    /// the first byte of a body.
    fn held_end(&self) -> bool {
        self.behind_zero && matches!(self.held[..], [b'\r' | b'\n'])
    }

    fn empty_line(&mut self) -> Split {
        self.returned = self.held == b"\r";
        self.clear();
        self.behind_zero = false;
        self.show(b"\r\n");
        Split::Line(String::new())
    }

    /// Whether the next byte is a key that somebody types, so that it may edit what is held.
    fn is_typing(&self) -> bool {
        !(self.untypable || (self.behind_zero && self.held.len() < 2))
    }

    fn key(&mut self, byte: u8) -> Option<Split> {
        match (self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Parameters,
            (Escape::Parameters, 0x20..=0x3F) => {}
            (Escape::Begun | Escape::Parameters, 0x20..) => self.escape = Escape::None,
            (_, ESCAPE) => self.escape = Escape::Begun,
            (_, BACKSPACE | DELETE) => self.erase(),
            (_, INTERRUPT | KILL) => {
                while !self.held.is_empty() {
                    self.erase();
                }
            }
            _ => {
                self.escape = Escape::None;
                if byte >= b' ' {
                    self.show(&[byte]);
                }
                return self.push(byte);
            }
        }
        None
    }

    /// Takes back the last character.
    fn erase(&mut self) {
        while let Some(byte) = self.held.pop() {
            if byte & 0xC0 != 0x80 {
                self.show(b"\x08 \x08");
                return;
            }
        }
    }

    fn push(&mut self, byte: u8) -> Option<Split> {
        self.untypable |= !is_typable(byte);
        // An end of line at the front is held until the next byte decides; with it, it is a body.
        self.untypable |= matches!(self.held[..], [b'\r' | b'\n']);
        self.held.push(byte);
        let (most, skip, damage) = if self.untypable {
            (MAX_BODY, Skip::Frame, Damage::LongFrame)
        } else {
            (MAX_LINE, Skip::Line, Damage::LongLine)
        };
        if self.held.len() <= most {
            return None;
        }
        self.clear();
        self.skipping = Some(skip);
        Some(Split::Bad(damage))
    }

    fn clear(&mut self) {
        self.held.clear();
        self.untypable = false;
        self.escape = Escape::None;
    }

    fn show(&mut self, bytes: &[u8]) {
        if let Some(echo) = &mut self.echo {
            echo.extend_from_slice(bytes);
        }
    }
}

/// Whether a byte can stand second in a frame's body. Versions above 31 are so far away that they are taken for text.
fn is_version(byte: u8) -> bool {
    (1..b' ').contains(&byte) && byte != b'\r' && byte != b'\n'
}

fn is_typable(byte: u8) -> bool {
    byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n' | BACKSPACE | ESCAPE | INTERRUPT | KILL)
}

/// The line that `bytes` are, unless they are not UTF-8.
fn line(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let printed: String = text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    Some(printed.trim().to_owned())
}

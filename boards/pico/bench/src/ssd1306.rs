//! Writes to an SSD1306 to pixels.
//! Source: Solomon Systech, "SSD1306 Advance Information", revision 1.1, chapters 8 and 9.

use std::ops::RangeInclusive;

/// Width and height in pixels.
pub const SIZE: [usize; 2] = [128, 64];

const PAGES: usize = SIZE[1] / 8;

/// A controller in horizontal addressing, and its memory.
#[derive(Debug, Clone)]
pub struct Ssd1306 {
    memory: [[u8; SIZE[0]]; PAGES],
    columns: RangeInclusive<usize>,
    pages: RangeInclusive<usize>,
    column: usize,
    page: usize,
    on: bool,
    /// Column 0 of the memory is at the right, row 0 at the bottom of the glass, which is how modules are built in.
    remapped: [bool; 2],
    /// A command that waits for its arguments.
    command: Vec<u8>,
}

impl Ssd1306 {
    /// As after power on, when its memory holds whatever it holds.
    pub fn new() -> Self {
        Self {
            memory: [[0x5A; SIZE[0]]; PAGES],
            columns: 0..=SIZE[0] - 1,
            pages: 0..=PAGES - 1,
            column: 0,
            page: 0,
            on: false,
            remapped: [false; 2],
            command: Vec::new(),
        }
    }

    /// Takes what was written to it between a start and a stop of the bus. Errors name a command that is not known here.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match bytes {
            [0x00, commands @ ..] => commands.iter().try_for_each(|byte| self.command(*byte)),
            [0x40, data @ ..] => {
                data.iter().for_each(|byte| self.data(*byte));
                Ok(())
            }
            _ => Err(format!("a write that is neither commands nor data: {bytes:02x?}")),
        }
    }

    /// Whether a pixel is lit, counted from the top left. None is while the display is off.
    pub fn is_lit(&self, x: usize, y: usize) -> bool {
        let x = if self.remapped[0] { x } else { SIZE[0] - 1 - x };
        let y = if self.remapped[1] { y } else { SIZE[1] - 1 - y };
        self.on && self.memory[y / 8][x] >> (y % 8) & 1 != 0
    }

    /// The pixels as a person sees them: two rows of them a line.
    pub fn dump(&self) -> String {
        let mut lines = String::new();
        for y in (0..SIZE[1]).step_by(2) {
            for x in 0..SIZE[0] {
                lines.push(match (self.is_lit(x, y), self.is_lit(x, y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
        }
        lines
    }

    fn command(&mut self, byte: u8) -> Result<(), String> {
        self.command.push(byte);
        let arguments = match self.command[0] {
            0x21 | 0x22 => 2,
            0x20 | 0x81 | 0x8D | 0xA8 | 0xAD | 0xD3 | 0xD5 | 0xD9 | 0xDA | 0xDB => 1,
            _ => 0,
        };
        if self.command.len() <= arguments {
            return Ok(());
        }
        match *std::mem::take(&mut self.command) {
            [0x21, from, to] => {
                (self.columns, self.column) = (from.into()..=to.into(), from.into());
            }
            [0x22, from, to] => (self.pages, self.page) = (from.into()..=to.into(), from.into()),
            [0x20, 0x00] => {}
            [0x20, mode] => return Err(format!("addressing mode {mode}")),
            [0xA0 | 0xA1] => self.remapped[0] = byte == 0xA1,
            [0xC0 | 0xC8] => self.remapped[1] = byte == 0xC8,
            [0xAE | 0xAF] => self.on = byte == 0xAF,
            // Voltages, clocks, brightness, no inversion, no scrolling, first row 0.
            [0x81 | 0x8D | 0xA8 | 0xAD | 0xD3 | 0xD5 | 0xD9 | 0xDA | 0xDB, _] | [0xA4 | 0xA6 | 0x2E | 0x40] => {}
            ref other => return Err(format!("command {other:02x?}")),
        }
        Ok(())
    }

    fn data(&mut self, byte: u8) {
        if let Some(place) = self.memory.get_mut(self.page).and_then(|page| page.get_mut(self.column)) {
            *place = byte;
        }
        self.column += 1;
        if self.column > *self.columns.end() {
            self.column = *self.columns.start();
            self.page += 1;
            if self.page > *self.pages.end() {
                self.page = *self.pages.start();
            }
        }
    }
}

impl Default for Ssd1306 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ssd1306 {
        let mut display = Ssd1306::new();
        display.write(&[0x00, 0x20, 0x00, 0xA1, 0xC8, 0xAF]).unwrap();
        display
    }

    #[test]
    fn data_fills_the_window_and_begins_anew_behind_its_end() {
        let mut display = ready();
        for command in [0x21, 126, 127, 0x22, 6, 7] {
            display.write(&[0x00, command]).unwrap();
        }
        display.write(&[0x40, 0, 0, 0, 0x80]).unwrap();
        assert!(display.is_lit(127, 63) && !display.is_lit(126, 63) && !display.is_lit(127, 62));
        display.write(&[0x40, 0x01]).unwrap();
        assert!(display.is_lit(126, 48));
    }

    #[test]
    fn a_display_that_is_off_or_built_in_the_other_way_shows_so() {
        let mut display = ready();
        display.write(&[0x40, 0x01]).unwrap();
        assert!(display.is_lit(0, 0));
        display.write(&[0x00, 0xA0, 0xC0]).unwrap();
        assert!(display.is_lit(127, 63));
        display.write(&[0x00, 0xAE]).unwrap();
        assert!(!display.is_lit(127, 63));
        assert!(display.write(&[0x00, 0x26]).is_err(), "it scrolls");
    }
}

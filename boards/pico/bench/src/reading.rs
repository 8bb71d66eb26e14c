//! Pixels to text: every character cell is compared with the font's characters.

use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{Drawable, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};

/// The lines of text in `area`, without blanks behind them; `None` where a cell holds no character of the font.
/// `is_lit` tells of each pixel whether it has the text's colour.
pub fn read(font: &MonoFont<'_>, area: Rectangle, is_lit: impl Fn(i32, i32) -> bool) -> Option<Vec<String>> {
    let size = font.character_size;
    let characters: Vec<(char, Cell)> = (' '..='ÿ').map(|c| (c, Cell::of(font, c))).collect();
    let [columns, rows] = [area.size.width / size.width, area.size.height / size.height];
    let mut lines = Vec::new();
    for row in 0..rows {
        let mut line = String::new();
        for column in 0..columns {
            let corner = area.top_left + Point::new((column * size.width) as i32, (row * size.height) as i32);
            let seen = Cell::seen(size, |x, y| is_lit(corner.x + x, corner.y + y));
            line.push(characters.iter().find(|(_, cell)| *cell == seen)?.0);
        }
        lines.push(line.trim_end().to_owned());
    }
    Some(lines)
}

#[derive(PartialEq)]
struct Cell {
    size: Size,
    lit: Vec<bool>,
}

impl Cell {
    fn of(font: &MonoFont<'_>, character: char) -> Self {
        let size = font.character_size;
        let mut cell = Self { size, lit: vec![false; (size.width * size.height) as usize] };
        let style = MonoTextStyle::new(font, BinaryColor::On);
        let _ = Text::with_baseline(&character.to_string(), Point::zero(), style, Baseline::Top).draw(&mut cell);
        cell
    }

    fn seen(size: Size, is_lit: impl Fn(i32, i32) -> bool) -> Self {
        let rows = (0..size.height as i32).flat_map(|y| (0..size.width as i32).map(move |x| (x, y)));
        Self { size, lit: rows.map(|(x, y)| is_lit(x, y)).collect() }
    }
}

impl OriginDimensions for Cell {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Cell {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(at, colour) in pixels {
            let within = Rectangle::new(Point::zero(), self.size).contains(at);
            if within {
                self.lit[(at.y as u32 * self.size.width + at.x as u32) as usize] = colour.is_on();
            }
        }
        Ok(())
    }
}

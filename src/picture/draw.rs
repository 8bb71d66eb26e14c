//! Boxes and their labels, drawn on a copy of the picture.
use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_9X15_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};

use super::Picture;

/// One box to draw, and what to write beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// `[x, y, width, height]` in pixels; the part outside the picture is not drawn.
    pub rect: [f32; 4],
    /// The label; empty for a box alone. Characters outside Latin-1 are drawn as `?`.
    pub text: String,
}

/// Okabe and Ito's palette without black: told apart with every common kind of colour blindness.
const PALETTE: [[u8; 3]; 7] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167], [213, 94, 0], [240, 228, 66], [0, 114, 178]];
const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
/// Letters are this part of the picture's shorter side.
const LETTER_SHARE: u32 = 24;

/// A copy of the picture with every mark's box, and its label on a plate of the box's colour. Lines and letters scale
/// with the picture; a plate stays inside the picture and keeps clear of the plates before it where there is room.
pub fn draw_marks(picture: &Picture, marks: &[Mark]) -> Picture {
    let mut canvas = Canvas { picture: picture.clone() };
    let line = (picture.width.min(picture.height) + 100) / 200;
    let line = i64::from(line.clamp(1, 64));
    let coloured = || marks.iter().zip(PALETTE.iter().cycle());
    for (mark, &colour) in coloured() {
        if let Some(rect) = Rect::of(mark.rect) {
            canvas.outline(rect, line, colour);
        }
    }
    // Plates last, so that no later box crosses a label.
    let mut plates: Vec<Rect> = Vec::new();
    for (mark, &colour) in coloured() {
        if let (Some(rect), false) = (Rect::of(mark.rect), mark.text.is_empty()) {
            let label = Label::new(&mark.text, picture);
            let plate = place(&label, rect, line, &plates, picture);
            canvas.fill(plate, colour);
            canvas.label(&label, plate, if is_light(colour) { BLACK } else { WHITE });
            plates.push(plate);
        }
    }
    canvas.picture
}

/// Pixels from `x0, y0` up to but not including `x1, y1`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rect {
    x0: i64,
    y0: i64,
    x1: i64,
    y1: i64,
}

impl Rect {
    /// None if a number is not finite.
    fn of([x, y, w, h]: [f32; 4]) -> Option<Self> {
        if ![x, y, w, h].iter().all(|v| v.is_finite()) {
            return None;
        }
        let near = |v: f32| v.clamp(-1e6, 1e6).round() as i64;
        let (x0, y0) = (near(x), near(y));
        Some(Self { x0, y0, x1: near(x + w).max(x0 + 1), y1: near(y + h).max(y0 + 1) })
    }

    fn overlaps(self, other: Rect) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }
}

/// A text with the font and the whole-number magnification that suit the picture.
struct Label {
    text: String,
    font: &'static MonoFont<'static>,
    scale: u32,
}

impl Label {
    fn new(text: &str, picture: &Picture) -> Self {
        let wanted = (picture.width.min(picture.height) / LETTER_SHARE).clamp(10, 400);
        let (font, scale) = [&FONT_6X10, &FONT_9X15_BOLD, &FONT_10X20]
            .map(|font| (font, ((wanted + font.character_size.height / 2) / font.character_size.height).max(1)))
            .into_iter()
            .min_by_key(|(font, scale)| (scale * font.character_size.height).abs_diff(wanted))
            .expect("the list of fonts is not empty");
        let mut label = Self { text: text.replace(char::is_control, " "), font, scale };
        let room = picture.width.saturating_sub(2 * label.margin()) / (font.character_size.width * scale);
        let room = room.max(1) as usize;
        if label.text.chars().count() > room {
            label.text = label.text.chars().take(room.saturating_sub(2)).chain("..".chars()).take(room).collect();
        }
        label
    }

    fn margin(&self) -> u32 {
        self.scale * (self.font.character_size.height / 8).max(1)
    }

    fn size(&self) -> (i64, i64) {
        let cell = self.font.character_size;
        let letters = self.text.chars().count() as u32;
        let width = letters * cell.width * self.scale + 2 * self.margin();
        (i64::from(width), i64::from(cell.height * self.scale + 2 * self.margin()))
    }
}

/// Above the box, else inside it at its top, else below it; then wherever below the first choice there is room.
fn place(label: &Label, rect: Rect, line: i64, taken: &[Rect], picture: &Picture) -> Rect {
    let (w, h) = label.size();
    let (right, bottom) = ((i64::from(picture.width) - w).max(0), (i64::from(picture.height) - h).max(0));
    let x0 = rect.x0.clamp(0, right);
    let at = |y: i64| Rect { x0, y0: y, x1: x0 + w, y1: y + h };
    let first = rect.y0.clamp(0, bottom);
    let further = (1..).map(|step| first + step * h).take_while(|&y| y <= bottom);
    [rect.y0 - h + line, rect.y0, rect.y1 - line]
        .into_iter()
        .chain(further)
        .filter(|y| (0..=bottom).contains(y))
        .map(at)
        .find(|&plate| !taken.iter().any(|&other| plate.overlaps(other)))
        .unwrap_or(at(first))
}

/// By the luma of Rec. 601.
fn is_light([r, g, b]: [u8; 3]) -> bool {
    u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114 > 110_000
}

struct Canvas {
    picture: Picture,
}

impl Canvas {
    fn fill(&mut self, rect: Rect, colour: [u8; 3]) {
        let clamp = |v: i64, end: u32| v.clamp(0, i64::from(end)) as usize;
        let (x0, x1) = (clamp(rect.x0, self.picture.width), clamp(rect.x1, self.picture.width));
        let (y0, y1) = (clamp(rect.y0, self.picture.height), clamp(rect.y1, self.picture.height));
        for row in self.picture.rgb.chunks_exact_mut(self.picture.width as usize * 3).take(y1).skip(y0) {
            row[x0 * 3..x1.max(x0) * 3].as_chunks_mut::<3>().0.fill(colour);
        }
    }

    /// A frame of `line` pixels inside the rectangle's edge, with a thin dark one within, to stand out on any ground.
    fn outline(&mut self, rect: Rect, line: i64, colour: [u8; 3]) {
        let dark = (line + 1) / 2;
        self.frame(rect, line + dark, BLACK);
        self.frame(rect, line, colour);
    }

    fn frame(&mut self, Rect { x0, y0, x1, y1 }: Rect, line: i64, colour: [u8; 3]) {
        let (right, bottom) = ((x1 - line).max(x0), (y1 - line).max(y0));
        for side in [
            Rect { x0, y0, x1, y1: (y0 + line).min(y1) },
            Rect { x0, y0: bottom, x1, y1 },
            Rect { x0, y0, x1: (x0 + line).min(x1), y1 },
            Rect { x0: right, y0, x1, y1 },
        ] {
            self.fill(side, colour);
        }
    }

    fn label(&mut self, label: &Label, plate: Rect, colour: [u8; 3]) {
        let margin = i64::from(label.margin());
        let mut letters = Letters {
            origin: (plate.x0 + margin, plate.y0 + margin),
            scale: i64::from(label.scale),
            colour,
            canvas: self,
        };
        let style = MonoTextStyle::new(label.font, BinaryColor::On);
        let Ok(_) = Text::with_baseline(&label.text, Point::zero(), style, Baseline::Top).draw(&mut letters);
    }
}

/// Magnifies what a font draws: every font pixel becomes a square.
struct Letters<'a> {
    canvas: &'a mut Canvas,
    origin: (i64, i64),
    scale: i64,
    colour: [u8; 3],
}

impl OriginDimensions for Letters<'_> {
    fn size(&self) -> Size {
        Size::new(self.canvas.picture.width, self.canvas.picture.height)
    }
}

impl DrawTarget for Letters<'_> {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(at, value) in pixels {
            if value.is_on() {
                let x0 = self.origin.0 + i64::from(at.x) * self.scale;
                let y0 = self.origin.1 + i64::from(at.y) * self.scale;
                self.canvas.fill(Rect { x0, y0, x1: x0 + self.scale, y1: y0 + self.scale }, self.colour);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> Picture {
        Picture::from_rgb8(width, height, vec![128; (width * height * 3) as usize]).unwrap()
    }

    fn mark(rect: [f32; 4], text: &str) -> Mark {
        Mark { rect, text: text.into() }
    }

    fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
        let at = ((y * picture.width() + x) * 3) as usize;
        picture.as_rgb8()[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn a_box_is_drawn_where_it_is_and_nowhere_else() {
        let out = draw_marks(&grey(400, 400), &[mark([100.0, 120.0, 50.0, 60.0], "")]);
        assert_eq!(pixel(&out, 100, 120), PALETTE[0]);
        assert_eq!(pixel(&out, 149, 179), PALETTE[0]);
        for (x, y) in [(99, 120), (150, 179), (100, 119), (125, 150), (149, 180)] {
            assert_eq!(pixel(&out, x, y), [128; 3], "{x} {y}");
        }
    }

    #[test]
    fn marks_beyond_every_edge_do_not_panic_and_plates_stay_inside() {
        let wild = [
            mark([-50.0, -50.0, 1e9, 1e9], "everything"),
            mark([f32::NAN, 0.0, 1.0, 1.0], "nothing"),
            mark([1e30, -1e30, 5.0, -5.0], "far"),
            mark([0.0, 0.0, 0.0, 0.0], "point"),
            mark([10.0, 10.0, 5.0, 5.0], &"long ".repeat(1000)),
            mark([3.0, 3.0, 4.0, 4.0], "Żółć 猫 🐈"),
        ];
        for (w, h) in [(1, 1), (7, 301), (640, 427), (2000, 3)] {
            assert_eq!(draw_marks(&grey(w, h), &wild).as_rgb8().len(), (w * h * 3) as usize);
        }
        let picture = grey(640, 427);
        let label = Label::new("a label at the far corner", &picture);
        for rect in [[635.0, 420.0, 10.0, 10.0], [-20.0, -20.0, 30.0, 30.0], [0.0, 0.0, 640.0, 427.0]] {
            let plate = place(&label, Rect::of(rect).unwrap(), 2, &[], &picture);
            assert!(plate.x0 >= 0 && plate.y0 >= 0 && plate.x1 <= 640 && plate.y1 <= 427, "{plate:?}");
        }
    }

    #[test]
    fn plates_of_equal_boxes_do_not_cover_each_other() {
        let picture = grey(640, 427);
        let rect = Rect::of([200.0, 100.0, 100.0, 80.0]).unwrap();
        let mut plates: Vec<Rect> = Vec::new();
        for text in ["dog 0.9", "cat 0.8", "bear 0.7", "cow 0.6", "horse 0.5"] {
            let plate = place(&Label::new(text, &picture), rect, 2, &plates, &picture);
            assert!(!plates.iter().any(|&p| p.overlaps(plate)));
            plates.push(plate);
        }
    }

    #[test]
    fn letters_grow_with_the_picture() {
        let height = |side| Label::new("x", &grey(side, side)).size().1;
        assert!(height(100) < height(480) && height(480) < height(1200) && height(1200) < height(3000));
        assert!((15..40).contains(&height(480)));
    }

    #[test]
    fn the_label_is_really_written() {
        let with = draw_marks(&grey(400, 400), &[mark([100.0, 120.0, 50.0, 60.0], "dog")]);
        let without = draw_marks(&grey(400, 400), &[mark([100.0, 120.0, 50.0, 60.0], "   ")]);
        let dark = |p: &Picture| p.as_rgb8().chunks(3).filter(|c| c == &BLACK).count();
        assert!(dark(&with) > dark(&without) + 30);
    }
}

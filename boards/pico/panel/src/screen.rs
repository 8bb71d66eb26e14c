//! A view on 128 x 64 pixels.

use embedded_graphics::mono_font::iso_8859_1::{FONT_5X8, FONT_6X10};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, Point, Primitive, Size};
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use embedded_text::TextBox;
use embedded_text::style::TextBoxStyle;

use crate::View;

/// Width and height in pixels.
pub const SIZE: Size = Size::new(128, 64);

/// The title's font, and where its first character stands.
pub const TITLE: (&MonoFont<'static>, Point) = (&FONT_6X10, Point::new(1, 1));

/// The body's font where it fits, else the smaller one; what does not fit in that either is not to be seen.
pub const BODY: [&MonoFont<'static>; 2] = [&FONT_6X10, &FONT_5X8];

/// Where the body stands, below the title.
pub const BELOW: Rectangle = Rectangle::new(Point::new(1, 14), Size::new(127, 50));

/// Draws the view. The target must be empty.
pub fn draw<T: DrawTarget<Color = BinaryColor>>(view: &View, target: &mut T) -> Result<(), T::Error> {
    let bar = Rectangle::new(Point::zero(), Size::new(SIZE.width, 12));
    bar.into_styled(PrimitiveStyle::with_fill(BinaryColor::On)).draw(target)?;
    let style = MonoTextStyle::new(TITLE.0, BinaryColor::Off);
    Text::with_baseline(&view.title, TITLE.1, style, Baseline::Top).draw(target)?;

    let style = TextBoxStyle::default();
    let [large, small] = BODY.map(|font| MonoTextStyle::new(font, BinaryColor::On));
    let height = style.measure_text_height(&large, &view.body, BELOW.size.width);
    let character = if height <= BELOW.size.height { large } else { small };
    TextBox::with_textbox_style(&view.body, BELOW, character, style).draw(target)?;
    Ok(())
}

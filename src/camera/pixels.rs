//! The pixel formats of cameras, and their pixels as RGB.

use serde::Serialize;

use crate::picture::Picture;

/// A pixel format that is read here, by its V4L2 name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PixelFormat {
    /// 4:2:2, `Y U Y V` for two pixels.
    Yuyv,
    /// 4:2:0, a plane of `Y`, then a plane of `U V` for each two by two pixels.
    Nv12,
    /// One byte a pixel.
    Grey,
    /// `R G B`.
    Rgb3,
    /// `B G R`.
    Bgr3,
    /// A JPEG for each frame.
    Mjpg,
}

impl PixelFormat {
    pub(super) const ALL: [Self; 6] = [Self::Yuyv, Self::Nv12, Self::Grey, Self::Rgb3, Self::Bgr3, Self::Mjpg];
    pub(super) const NAMES: &'static str = "YUYV, NV12, GREY, RGB3, BGR3 or MJPG";

    /// Four letters, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Its four letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Nv12 => "NV12",
            Self::Grey => "GREY",
            Self::Rgb3 => "RGB3",
            Self::Bgr3 => "BGR3",
            Self::Mjpg => "MJPG",
        }
    }
}

/// The numbers by which `Y`, `U` and `V` become `R`, `G` and `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Colour {
    /// ITU-R BT.709 rather than BT.601.
    pub bt709: bool,
    /// `Y` goes from 0 to 255 rather than from 16 to 235.
    pub full: bool,
}

/// Pixels as a driver gave them, uncompressed.
#[derive(Clone)]
#[cfg_attr(not(feature = "v4l2"), allow(dead_code))]
pub(super) struct Raw {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: usize,
    pub colour: Colour,
    pub bytes: Vec<u8>,
}

impl Raw {
    /// The picture; the error follows the name of the frame.
    pub fn picture(&self) -> Result<Picture, String> {
        let (width, height) = (self.width as usize, self.height as usize);
        let row = match self.format {
            PixelFormat::Yuyv => width.div_ceil(2) * 4,
            PixelFormat::Nv12 => width.div_ceil(2) * 2,
            PixelFormat::Grey => width,
            PixelFormat::Rgb3 | PixelFormat::Bgr3 => width * 3,
            PixelFormat::Mjpg => return Err("is compressed".into()),
        };
        let stride = self.stride.max(row);
        let rows = if self.format == PixelFormat::Nv12 { height + height.div_ceil(2) } else { height };
        let needed = if rows == 0 { 0 } else { stride * (rows - 1) + row };
        if self.bytes.len() < needed {
            let (got, name) = (self.bytes.len(), self.format.name());
            return Err(format!("is cut short: {got} of the {needed} bytes of {width} x {height} {name}"));
        }
        let line = |y: usize| &self.bytes[y * stride..y * stride + row];
        let mut rgb = Vec::with_capacity(width * height * 3);
        let numbers = Numbers::of(self.colour);
        for y in 0..height {
            match self.format {
                PixelFormat::Grey => rgb.extend(line(y).iter().flat_map(|v| [*v; 3])),
                PixelFormat::Rgb3 => rgb.extend_from_slice(line(y)),
                PixelFormat::Bgr3 => rgb.extend(line(y).chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]])),
                PixelFormat::Yuyv => {
                    let pairs = line(y).chunks_exact(4);
                    rgb.extend(pairs.flat_map(|p| numbers.pair([p[0], p[2]], p[1], p[3])));
                }
                PixelFormat::Nv12 => {
                    let pairs = line(y).chunks_exact(2).zip(line(height + y / 2).chunks_exact(2));
                    rgb.extend(pairs.flat_map(|(luma, chroma)| numbers.pair([luma[0], luma[1]], chroma[0], chroma[1])));
                }
                PixelFormat::Mjpg => {}
            }
            rgb.truncate((y + 1) * width * 3);
        }
        Picture::from_rgb8(self.width, self.height, rgb).map_err(|error| format!("is not a picture: {error}"))
    }
}

/// Factors in 1/65536. Source: ITU-R BT.601-7 and BT.709-6, quantised to 8 bits.
struct Numbers {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Numbers {
    fn of(colour: Colour) -> Self {
        let (kr, kb) = if colour.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let kg = 1.0 - kr - kb;
        let (black, y_range, c_range) = if colour.full { (0, 255.0, 255.0) } else { (16, 219.0, 224.0) };
        let fixed = |factor: f64, range: f64| (factor * 255.0 / range * 65536.0).round() as i32;
        Self {
            black,
            luma: fixed(1.0, y_range),
            red_v: fixed(2.0 * (1.0 - kr), c_range),
            green_u: fixed(2.0 * (1.0 - kb) * kb / kg, c_range),
            green_v: fixed(2.0 * (1.0 - kr) * kr / kg, c_range),
            blue_u: fixed(2.0 * (1.0 - kb), c_range),
        }
    }

    /// Two pixels that share their colour.
    #[inline]
    fn pair(&self, luma: [u8; 2], u: u8, v: u8) -> [u8; 6] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let (red, green, blue) = (self.red_v * v, -self.green_u * u - self.green_v * v, self.blue_u * u);
        let bytes = |y: u8| {
            let y = (i32::from(y) - self.black) * self.luma + (1 << 15);
            [red, green, blue].map(|colour| ((y + colour) >> 16).clamp(0, 255) as u8)
        };
        let ([a, b, c], [d, e, f]) = (bytes(luma[0]), bytes(luma[1]));
        [a, b, c, d, e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published equations, in floating point.
    fn reference(colour: Colour, y: u8, u: u8, v: u8) -> [u8; 3] {
        let (kr, kb) = if colour.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
        let (y, u, v) =
            if colour.full { (y / 255.0, u / 255.0, v / 255.0) } else { ((y - 16.0) / 219.0, u / 224.0, v / 224.0) };
        let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|value| (value * 255.0).round().clamp(0.0, 255.0) as u8)
    }

    fn raw(format: PixelFormat, width: u32, height: u32, stride: usize, bytes: &[u8]) -> Raw {
        Raw { format, width, height, stride, colour: Colour::default(), bytes: bytes.to_vec() }
    }

    #[test]
    fn every_colour_is_within_one_of_the_equations() {
        for colour in [(false, false), (false, true), (true, false), (true, true)] {
            let colour = Colour { bt709: colour.0, full: colour.1 };
            let numbers = Numbers::of(colour);
            for y in (0..=255).step_by(5) {
                for (u, v) in (0..=255).step_by(15).flat_map(|u| (0..=255).step_by(15).map(move |v| (u, v))) {
                    let got = numbers.pair([y, y], u, v);
                    let wanted = reference(colour, y, u, v);
                    let far = (0..6).any(|i| got[i].abs_diff(wanted[i % 3]) > 1);
                    assert!(!far, "{colour:?} {y} {u} {v}: {got:?}, not {wanted:?}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_bytes_and_the_padding_of_rows_are_right() {
        let rgb = |raw: Raw| raw.picture().unwrap().as_rgb8().to_vec();
        let bgr = raw(PixelFormat::Bgr3, 1, 2, 4, &[1, 2, 3, 9, 4, 5, 6]);
        assert_eq!(rgb(bgr), [3, 2, 1, 6, 5, 4]);
        assert_eq!(rgb(raw(PixelFormat::Rgb3, 1, 2, 4, &[1, 2, 3, 9, 4, 5, 6])), [1, 2, 3, 4, 5, 6]);
        assert_eq!(rgb(raw(PixelFormat::Grey, 2, 1, 0, &[7, 8])), [7, 7, 7, 8, 8, 8]);
        let at = |y, u, v| reference(Colour::default(), y, u, v);
        // An odd width and a padded row: the last pixel has no partner.
        let yuyv = raw(PixelFormat::Yuyv, 3, 1, 10, &[50, 90, 60, 200, 70, 30, 0, 40]);
        assert_eq!(rgb(yuyv), [at(50, 90, 200), at(60, 90, 200), at(70, 30, 40)].concat());
        let nv12 = raw(PixelFormat::Nv12, 2, 3, 3, &[10, 20, 0, 30, 40, 0, 50, 60, 0, 90, 200, 0, 30, 40]);
        let expected = [(10, 90, 200), (20, 90, 200), (30, 90, 200), (40, 90, 200), (50, 30, 40), (60, 30, 40)]
            .map(|p| at(p.0, p.1, p.2));
        assert_eq!(rgb(nv12), expected.concat());
    }

    #[test]
    fn a_short_buffer_is_said_to_be_short() {
        for format in PixelFormat::ALL.into_iter().filter(|format| *format != PixelFormat::Mjpg) {
            let error = raw(format, 4, 4, 0, &[0; 15]).picture().unwrap_err();
            assert!(error.contains("cut short: 15 of the"), "{error}");
        }
    }
}

//! Pictures: decode, crop, resize with Pillow's numbers, normalise, draw boxes, save.
//!
//! A [`Picture`] is always 8-bit RGB, row-major, upright (EXIF orientation already applied). Its pixels are what
//! Pillow's `ImageOps.exif_transpose(im).convert("RGB")` gives, with these stated differences:
//!
//! * 16-bit pictures keep the high byte of every sample, as Pillow does for 16-bit colour; Pillow clips 16-bit *grey* at
//!   255 instead, which turns almost every such picture white.
//! * JPEG and lossy WebP decoders are not bit-exact between implementations: a sample may differ by a few levels
//!   (measured mean absolute difference well under 1.5). Lossless formats are equal.
//!
//! Limits: [`MAX_PIXELS`] is checked against the file's header, before the pixels are allocated; a decoder may use at
//! most 512 MiB.
mod decode;
mod draw;
mod preprocess;
mod resize;
mod save;

use std::path::Path;

use crate::{Code, Error, Result};

pub use draw::{Mark, draw_marks};
pub use preprocess::{Preprocess, ResizeRule};
pub use resize::Filter;
use resize::Side;

/// The largest picture that is decoded: 64 million pixels (about 9,200 x 6,900). Larger ones are refused from the
/// header, before their pixels are allocated.
pub const MAX_PIXELS: u64 = 64_000_000;

/// An upright 8-bit RGB picture of at least one pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// Reads and decodes a file. Errors name the file: missing, a folder, unreadable, empty, not a picture, truncated or
    /// larger than [`MAX_PIXELS`].
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = decode::read_file(path)?;
        Self::decode(&bytes, &path.display().to_string())
    }

    /// Decodes JPEG, PNG, GIF (first frame), BMP, WebP or TIFF bytes; `name` appears in errors. The format is told from
    /// the content, never from the name.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        decode::decode(bytes, name)
    }

    /// Wraps `width * height * 3` bytes, row-major, three channels a pixel.
    pub fn from_rgb8(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS || pixels * 3 != rgb.len() as u64 {
            return Err(Error::new(
                Code::Picture,
                format!("a picture of {width} x {height} pixels cannot be made of {} bytes", rgb.len()),
                format!("give width * height * 3 bytes, and between 1 and {MAX_PIXELS} pixels"),
            ));
        }
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height, width, 3]`, row-major.
    pub fn as_rgb8(&self) -> &[u8] {
        &self.rgb
    }

    /// The part of this picture inside the given rectangle, in pixels. The rectangle is clamped to the picture and never
    /// smaller than one pixel.
    pub fn crop(&self, x: u32, y: u32, w: u32, h: u32) -> Picture {
        let (x, y) = (x.min(self.width - 1), y.min(self.height - 1));
        let (w, h) = (w.clamp(1, self.width - x), h.clamp(1, self.height - y));
        let mut rgb = Vec::with_capacity(w as usize * h as usize * 3);
        for row in y..y + h {
            let start = (row as usize * self.width as usize + x as usize) * 3;
            rgb.extend_from_slice(&self.rgb[start..start + w as usize * 3]);
        }
        Picture { width: w, height: h, rgb }
    }

    /// Resamples to `width` x `height` (at least one pixel each) with antialiasing; the numbers are those of
    /// Pillow's `Image.resize`.
    pub fn resized(&self, width: u32, height: u32, filter: Filter) -> Picture {
        let (x, y) = (Side::whole(self.width, width.max(1)), Side::whole(self.height, height.max(1)));
        resize::resample(self, x, y, filter)
    }

    /// The bytes of a JPEG file; `quality` is 1 to 100. Errors where a side is longer than 65,535 pixels.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>> {
        save::jpeg(self, quality)
    }

    /// Writes a picture file whose format follows the extension. The bytes go to a temporary file beside `path`, which is
    /// then renamed, so that `path` never holds a partial picture.
    pub fn save(&self, path: &Path) -> Result<()> {
        save::save(self, path)
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

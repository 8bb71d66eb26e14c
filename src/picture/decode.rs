//! From a file's bytes to upright RGB.
use std::io::{Cursor, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{MAX_PIXELS, Picture};
use crate::{Code, Error, Result};

/// A picture of [`MAX_PIXELS`] fits in less than this in every format; a larger file is not read.
const MAX_FILE_BYTES: u64 = 1 << 29;
const KNOWN: &str = "JPEG, PNG, GIF, BMP, WebP or TIFF";

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => {
            Error::new(Code::Input, format!("there is no file {name}"), "check the path; `-` reads standard input")
        }
        ErrorKind::PermissionDenied => Error::new(
            Code::Input,
            format!("{name} may not be read: {e}"),
            "give yourself permission to read it (chmod u+r), or copy it elsewhere",
        ),
        _ => Error::new(Code::Input, format!("{name} cannot be read: {e}"), "check the path and the disk"),
    };
    let meta = std::fs::metadata(path).map_err(failed)?;
    if meta.is_dir() {
        return Err(Error::new(
            Code::Input,
            format!("{name} is a folder, not a picture"),
            "name one picture file; `lookout find` searches a folder",
        ));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(
            Code::Picture,
            format!("{name} is larger than {} MiB", MAX_FILE_BYTES >> 20),
            "shrink the picture first, or check that it is a picture at all",
        ));
    }
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Picture> {
    if bytes.is_empty() {
        return Err(Error::new(
            Code::Picture,
            format!("{name} is empty (0 bytes)"),
            "copy or download the picture again",
        ));
    }
    let format = image::guess_format(bytes).ok().filter(ImageFormat::reading_enabled).ok_or_else(|| {
        Error::new(
            Code::Picture,
            format!("{name} is not a picture in a known format"),
            format!("use a {KNOWN} file; the content counts, not the name"),
        )
    })?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(truncated(name, "its end marker is missing"));
    }
    // The decoders are other people's code fed with untrusted bytes: a panic there is that picture's error.
    catch_unwind(AssertUnwindSafe(|| decode_as(bytes, name, format))).unwrap_or_else(|_| {
        Err(Error::new(
            Code::Picture,
            format!("{name} is a damaged {format:?} picture"),
            "copy or download the picture again",
        ))
    })
}

fn decode_as(bytes: &[u8], name: &str, format: ImageFormat) -> Result<Picture> {
    let failed = |e: ImageError| decoding_error(&e, name, format);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(Limits::default());
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(Error::new(
            Code::Picture,
            format!(
                "{name} is {width} x {height}, {} million pixels; the limit is {} million",
                pixels.div_ceil(1_000_000),
                MAX_PIXELS / 1_000_000
            ),
            "shrink it first, for example to 2000 pixels on its longer side: models look at far fewer",
        ));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(failed)?;
    let mut upright =
        DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, rgb8(pixels)).ok_or_else(|| {
            Error::new(Code::Picture, format!("{name} has no pixels"), "copy or download the picture again")
        })?);
    upright.apply_orientation(orientation);
    let (width, height) = (upright.width(), upright.height());
    Picture::from_rgb8(width, height, upright.into_rgb8().into_raw())
}

/// Drops alpha without blending; of 16-bit samples keeps the high byte.
fn rgb8(pixels: DynamicImage) -> Vec<u8> {
    fn wide<const N: usize>(samples: &[u16]) -> Vec<u8> {
        let high = |v: u16| (v >> 8) as u8;
        let colour = N >= 3;
        samples
            .chunks_exact(N)
            .flat_map(|p| if colour { [high(p[0]), high(p[1]), high(p[2])] } else { [high(p[0]); 3] })
            .collect()
    }
    match pixels {
        DynamicImage::ImageLuma16(p) => wide::<1>(&p),
        DynamicImage::ImageLumaA16(p) => wide::<2>(&p),
        DynamicImage::ImageRgb16(p) => wide::<3>(&p),
        DynamicImage::ImageRgba16(p) => wide::<4>(&p),
        other => other.into_rgb8().into_raw(),
    }
}

fn decoding_error(e: &ImageError, name: &str, format: ImageFormat) -> Error {
    match e {
        ImageError::Limits(_) => Error::new(
            Code::Picture,
            format!("{name} needs more memory to decode than is allowed ({e})"),
            "shrink it first, or save it again as a plain PNG or JPEG",
        ),
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => truncated(name, &e.to_string()),
        ImageError::Unsupported(_) => Error::new(
            Code::Picture,
            format!("{name} is a {format:?} picture of a kind that is not supported: {e}"),
            "save it again as a plain PNG or JPEG",
        ),
        _ => Error::new(
            Code::Picture,
            format!("{name} is a damaged or truncated {format:?} picture: {e}"),
            "copy or download the picture again",
        ),
    }
}

fn truncated(name: &str, why: &str) -> Error {
    Error::new(Code::Picture, format!("{name} is truncated: {why}"), "copy or download the picture again")
}

/// Walks the marker segments to the end-of-image marker, as the decoder itself would fill what is missing with grey.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    loop {
        // To the next marker: over entropy-coded data, stuffed zeros, restart markers and fill bytes.
        let Some(found) = bytes[at.min(bytes.len())..].iter().position(|&b| b == 0xFF) else { return false };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(&END_OF_IMAGE) => return true,
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(&marker) => {
                let Some(length) = bytes.get(at + 1..at + 3) else { return false };
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                at += 1 + length;
                if marker == START_OF_SCAN && at > bytes.len() {
                    return false;
                }
            }
        }
    }
}

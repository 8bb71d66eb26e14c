//! JPEGs in a stream of bytes: where one ends, and the tables that cameras leave out.

use std::io::{self, Read};
use std::time::Instant;

use super::feed::Feed;

const END_OF_IMAGE: u8 = 0xD9;
const START_OF_IMAGE: u8 = 0xD8;
const START_OF_SCAN: u8 = 0xDA;
const HUFFMAN_TABLES: u8 = 0xC4;
/// Bytes without a JPEG after which a stream is taken for something else.
const MAX_GARBAGE: usize = 1 << 20;

/// JPEGs one after the other, with anything between them.
pub(super) struct Jpegs<R> {
    feed: Feed<R>,
    any: bool,
}

impl<R: Read> Jpegs<R> {
    pub fn new(feed: Feed<R>) -> Self {
        Self { feed, any: false }
    }

    /// The next one that ends after `not_before`; `None` at the end of the stream. One that is cut off by the next is
    /// given as it is, for its reader to complain about.
    pub fn next(&mut self, not_before: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut garbage = 0;
        loop {
            let Some(skipped) = self.find_start()? else { return Ok(None) };
            garbage += skipped;
            if garbage > MAX_GARBAGE {
                return Err(self.not_jpeg());
            }
            let mut walk = Walk::default();
            let step = loop {
                match walk.go(self.feed.bytes()) {
                    Step::More if self.feed.more()? => {}
                    Step::More => return Ok(None),
                    step => break step,
                }
            };
            match step {
                Step::Whole(length) | Step::Cut(length) if Instant::now() >= not_before => {
                    self.any = true;
                    return Ok(Some(self.feed.take(length)));
                }
                Step::Whole(length) | Step::Cut(length) => self.feed.skip(length),
                Step::Broken | Step::More => {
                    self.feed.skip(2);
                    garbage += 2;
                }
            }
        }
    }

    /// Skips to where a JPEG seems to begin; how many bytes that was.
    fn find_start(&mut self) -> io::Result<Option<usize>> {
        let mut skipped = 0;
        loop {
            let bytes = self.feed.bytes();
            let found = bytes.windows(3).position(|three| three == [0xFF, START_OF_IMAGE, 0xFF]);
            let skip = found.unwrap_or(bytes.len().saturating_sub(2));
            self.feed.skip(skip);
            skipped += skip;
            if found.is_some() {
                return Ok(Some(skipped));
            }
            if skipped > MAX_GARBAGE {
                return Err(self.not_jpeg());
            }
            if !self.feed.more()? {
                return Ok(None);
            }
        }
    }

    fn not_jpeg(&self) -> io::Error {
        let again = if self.any { "no longer" } else { "not" };
        io::Error::new(io::ErrorKind::InvalidData, format!("what comes is {again} JPEG"))
    }
}

/// Walks from marker to marker, so that a thumbnail inside a segment does not end the picture. Goes on where it stopped
/// when there is more.
#[derive(Default)]
pub(super) struct Walk {
    at: usize,
    scan: bool,
}

/// What a walk over the bytes since the start of a JPEG came to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Its end is not there yet.
    More,
    /// It has this many bytes.
    Whole(usize),
    /// After this many bytes another one begins.
    Cut(usize),
    /// It makes no sense.
    Broken,
}

impl Walk {
    pub fn go(&mut self, bytes: &[u8]) -> Step {
        self.at = self.at.max(2);
        loop {
            if self.scan {
                let rest = bytes.get(self.at..).unwrap_or_default();
                let Some(found) = rest.iter().position(|byte| *byte == 0xFF) else {
                    self.at = self.at.max(bytes.len());
                    return Step::More;
                };
                self.at += found;
            }
            match (bytes.get(self.at), bytes.get(self.at + 1)) {
                (Some(0xFF), None) | (None, _) => return Step::More,
                (Some(0xFF), Some(0x00 | 0xD0..=0xD7)) if self.scan => self.at += 2,
                (Some(0xFF), Some(0xFF)) => self.at += 1,
                (Some(0xFF), Some(&END_OF_IMAGE)) => return Step::Whole(self.at + 2),
                (Some(0xFF), Some(&START_OF_IMAGE)) => return Step::Cut(self.at),
                (Some(0xFF), Some(0x02..=0xBF)) if self.scan => self.at += 2,
                (Some(0xFF), Some(0x01)) => self.at += 2,
                (Some(0xFF), Some(&marker)) if marker >= 0xC0 => {
                    let Some(length) = bytes.get(self.at + 2..self.at + 4) else { return Step::More };
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    if length < 2 {
                        return Step::Broken;
                    }
                    self.at += 2 + length;
                    self.scan = marker == START_OF_SCAN;
                }
                _ => return Step::Broken,
            }
        }
    }
}

/// The JPEG with the standard Huffman tables where it has none: cameras leave them out to save bytes. Source: ITU-T T.81,
/// annex K.3.3.
pub(super) fn with_tables(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4).and_then(|four| four.first_chunk::<4>()) {
        match marker {
            START_OF_SCAN => {
                bytes.splice(at..at, standard_tables());
                return bytes;
            }
            0xFF => at += 1,
            // Tables are there, or it is coded by other means.
            HUFFMAN_TABLES | 0xC9..=0xCB | 0xCD..=0xCF | END_OF_IMAGE => return bytes,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    bytes
}

fn standard_tables() -> Vec<u8> {
    let tables = [&DC_LUMA[..], &DC_CHROMA, &AC_LUMA, &AC_CHROMA].concat();
    let length = (tables.len() as u16 + 2).to_be_bytes();
    [&[0xFF, HUFFMAN_TABLES, length[0], length[1]], &tables[..]].concat()
}

// Each: its class and number, how many codes of 1 to 16 bits there are, and what they mean.
#[rustfmt::skip]
const DC_LUMA: [u8; 29] = [
    0x00,
    0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B,
];
#[rustfmt::skip]
const DC_CHROMA: [u8; 29] = [
    0x01,
    0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B,
];
#[rustfmt::skip]
const AC_LUMA: [u8; 179] = [
    0x10,
    0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125,
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3,
    0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];
#[rustfmt::skip]
const AC_CHROMA: [u8; 179] = [
    0x11,
    0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119,
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1,
    0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A,
    0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA,
    0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Stop;
    use crate::picture::Picture;

    /// A small picture as JPEG, with `thumbnail` in a segment of its own.
    fn jpeg(grey: u8, thumbnail: &[u8]) -> Vec<u8> {
        let pixels: Vec<u8> = (0..32 * 24 * 3).map(|at| grey.wrapping_add((at % 97) as u8)).collect();
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 80);
        image::ImageEncoder::write_image(encoder, &pixels, 32, 24, image::ExtendedColorType::Rgb8).unwrap();
        let length = (thumbnail.len() as u16 + 2).to_be_bytes();
        bytes.splice(2..2, [&[0xFF, 0xE2, length[0], length[1]], thumbnail].concat());
        bytes
    }

    /// Gives its bytes few at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn split(bytes: &[u8], chunk: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut jpegs = Jpegs::new(Feed::new(Trickle(bytes, chunk), Stop::default()));
        let now = Instant::now();
        std::iter::from_fn(|| jpegs.next(now).transpose()).collect()
    }

    #[test]
    fn jpegs_are_told_apart_wherever_the_stream_is_cut() {
        let thumbnail = jpeg(9, &[]);
        let (one, two) = (jpeg(1, &thumbnail), jpeg(200, &[0xFF, 0xD9, 0xFF, 0xD8, 0xFF]));
        let stream = [b"hello \xFF\xD8 ", &one[..], &[0xFF, 0, 0], &two, &two, b"\xFF"].concat();
        for chunk in [1, 2, 3, 7, 100, 4096] {
            assert!(split(&stream, chunk).unwrap() == [one.clone(), two.clone(), two.clone()], "chunks of {chunk}");
        }
    }

    #[test]
    fn after_a_broken_one_the_next_is_found() {
        let (one, two) = (jpeg(1, &[]), jpeg(2, &[]));
        for cut in [3, 5, 30, 200, one.len() - 40, one.len() - 2] {
            let stream = [&one[..cut], &two, &one].concat();
            let found = split(&stream, 50).unwrap();
            let whole: Vec<_> = found.iter().filter(|bytes| Picture::decode(bytes, "one").is_ok()).collect();
            assert!(whole == [&two, &one], "cut at {cut}: {} found", whole.len());
        }
    }

    #[test]
    fn no_bytes_at_all_make_it_loop_or_panic() {
        let whole = jpeg(3, &[1, 2, 3]);
        for at in 0..whole.len() {
            for value in [0x00, 0xD8, 0xD9, 0xDA, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = with_tables(bytes.clone());
                let _ = split(&[bytes, whole.clone()].concat(), 512).unwrap();
            }
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        let error = split(&vec![0x47; 3 << 20], 4096).unwrap_err();
        assert!(error.to_string().contains("not JPEG"), "{error}");
    }

    #[test]
    fn a_jpeg_without_huffman_tables_gets_the_standard_ones() {
        let whole = jpeg(50, &[]);
        let mut bare = whole.clone();
        while let Some(at) = bare.windows(2).position(|two| two == [0xFF, HUFFMAN_TABLES]) {
            let length = usize::from(u16::from_be_bytes([bare[at + 2], bare[at + 3]]));
            bare.drain(at..at + 2 + length);
        }
        assert!(bare.len() < whole.len() - 400);
        let pixels = |bytes: &[u8]| Picture::decode(bytes, "one").map(|picture| picture.as_rgb8().to_vec());
        assert_eq!(pixels(&with_tables(bare)).unwrap(), pixels(&whole).unwrap());
        assert_eq!(with_tables(whole.clone()), whole);
    }
}

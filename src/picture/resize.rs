//! Resampling with Pillow's numbers: separable convolution whose support grows with the shrink factor, weights in 22-bit
//! fixed point, the horizontal pass first, 8-bit between the passes. Source: Pillow `src/libImaging/Resample.c`.
use std::f64::consts::PI;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{MAX_PIXELS, Picture};
use crate::{Code, Error};

/// A resampling filter, as named by Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Catmull-Rom (a = -0.5), support 2.
    Bicubic,
    /// Lanczos with three lobes, support 3.
    Lanczos,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        let distance = x.abs();
        match self {
            Filter::Bilinear if distance < 1.0 => 1.0 - distance,
            Filter::Bicubic if distance < 1.0 => ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0,
            Filter::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A,
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "bilinear" => Ok(Filter::Bilinear),
            "bicubic" => Ok(Filter::Bicubic),
            "lanczos" => Ok(Filter::Lanczos),
            _ => Err(Error::new(
                Code::Usage,
                format!("there is no resize filter named {name:?}"),
                "use bilinear, bicubic or lanczos",
            )),
        }
    }
}

/// One side of a picture, `from` pixels, resampled to `full` pixels of which those from `start`, `count` of them, are
/// wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub from: u32,
    pub full: u64,
    pub start: u64,
    pub count: u32,
}

impl Side {
    /// All pixels of the result are wanted.
    pub fn whole(from: u32, to: u32) -> Self {
        Self { from, full: u64::from(to), start: 0, count: to }
    }
}

/// The wanted part of the picture resampled: equal to a cut out of the whole picture resampled, but nothing else is
/// computed.
pub(super) fn resample(picture: &Picture, x: Side, y: Side, filter: Filter) -> Picture {
    let (across, down) = (Taps::new(x, filter), Taps::new(y, filter));
    let width_in = picture.width as usize;
    let needed = down.reach();
    let rgb = if u64::from(x.count) * needed.len() as u64 <= MAX_PIXELS {
        let rows = &picture.rgb[needed.start * width_in * 3..needed.end * width_in * 3];
        vertical(&horizontal(rows, width_in, &across), across.count(), needed.start, &down)
    } else {
        // The other order, for a picture so tall and thin that it would first grow beyond all bounds.
        horizontal(&vertical(&picture.rgb, width_in, 0, &down), width_in, &across)
    };
    Picture { width: x.count, height: y.count, rgb }
}

const PRECISION_BITS: u32 = 32 - 8 - 2;

/// For each output pixel along one side: the first input pixel that it takes, and the weights of it and the following.
struct Taps {
    spans: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(side: Side, filter: Filter) -> Self {
        let scale = f64::from(side.from) / side.full as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let mut taps = Self { spans: Vec::with_capacity(side.count as usize), weights: Vec::new() };
        let mut exact = Vec::new();
        for at in side.start..side.start + u64::from(side.count) {
            let centre = (at as f64 + 0.5) * scale;
            // The casts round toward zero and clamp below zero, as in the source.
            let first = (centre - support + 0.5) as u32;
            let end = ((centre + support + 0.5) as u32).min(side.from);
            exact.clear();
            exact.extend((first..end).map(|x| filter.weight((f64::from(x) - centre + 0.5) * (1.0 / stretch))));
            let sum: f64 = exact.iter().sum();
            let unit = f64::from(1u32 << PRECISION_BITS) / if sum == 0.0 { 1.0 } else { sum };
            let start = taps.weights.len();
            taps.weights.extend(exact.iter().map(|w| (w * unit).round() as i32));
            taps.spans.push((first as usize, start..taps.weights.len()));
        }
        taps
    }

    fn count(&self) -> usize {
        self.spans.len()
    }

    /// The input pixels that take part.
    fn reach(&self) -> Range<usize> {
        let end = |(first, weights): &(usize, Range<usize>)| first + weights.len();
        self.spans.first().map_or(0, |span| span.0)..self.spans.last().map_or(0, end)
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans.iter().map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }
}

fn horizontal(rgb: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let mut out = Vec::with_capacity(rgb.len() / width * taps.count());
    for row in rgb.chunks_exact(width * 3) {
        for (first, weights) in taps.each() {
            let mut sum = [HALF; 3];
            for (pixel, weight) in row[first * 3..].as_chunks::<3>().0.iter().zip(weights) {
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sum.map(clip));
        }
    }
    out
}

/// `rgb` starts at input row `offset`.
fn vertical(rgb: &[u8], width: usize, offset: usize, taps: &Taps) -> Vec<u8> {
    let stride = width * 3;
    let mut out = Vec::with_capacity(stride * taps.count());
    let mut sums = vec![HALF; stride];
    for (first, weights) in taps.each() {
        sums.fill(HALF);
        for (row, weight) in rgb[(first - offset) * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| clip(sum)));
    }
    out
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

//! From a picture to the numbers an image tower takes.
use serde::{Deserialize, Serialize};

use super::resize::{self, Side};
use super::{Filter, Picture};

/// How a picture of any shape becomes one of the tower's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeRule {
    /// Both sides to the target, ignoring the aspect ratio: nothing is cut away.
    Stretch,
    /// Until the picture just covers the target, then cut around the centre. For a square target this is torchvision's
    /// `Resize(size)` and `CenterCrop(size)`, as CLIP uses them, with their rounding.
    Crop,
}

/// The image tower's input: size, resize rule, and the mean and deviation of each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// How the aspect ratio is treated.
    pub rule: ResizeRule,
    /// The resampling filter.
    pub filter: Filter,
    /// Mean of red, green and blue, in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, in 0..1; not zero.
    pub std: [f32; 3],
}

impl Preprocess {
    /// `[3, height, width]`, row-major: `(value / 255 - mean) / std`.
    pub fn apply(&self, picture: &Picture) -> Vec<f32> {
        let small = self.fit(picture);
        let plane = small.width as usize * small.height as usize;
        let mut out = vec![0.0; 3 * plane];
        for (channel, target) in out.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let table: [f32; 256] = std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
            for (value, pixel) in target.iter_mut().zip(small.rgb.chunks_exact(3)) {
                *value = table[pixel[channel] as usize];
            }
        }
        out
    }

    /// The picture at the tower's size, before the numbers are normalised.
    pub fn fit(&self, picture: &Picture) -> Picture {
        let (width, height) = (self.width.max(1), self.height.max(1));
        match self.rule {
            ResizeRule::Stretch => picture.resized(width, height, self.filter),
            ResizeRule::Crop => {
                let (full_w, full_h) = covering_size(picture.width, picture.height, width, height);
                let (left, top) = (half_to_even(full_w - u64::from(width)), half_to_even(full_h - u64::from(height)));
                let x = Side { from: picture.width, full: full_w, start: left, count: width };
                let y = Side { from: picture.height, full: full_h, start: top, count: height };
                resize::resample(picture, x, y, self.filter)
            }
        }
    }
}

/// The smallest size of the picture's shape that covers the target; the longer side is rounded down, as torchvision does.
fn covering_size(width: u32, height: u32, target_width: u32, target_height: u32) -> (u64, u64) {
    let (w, h) = (u64::from(width), u64::from(height));
    let (tw, th) = (u64::from(target_width), u64::from(target_height));
    if w * th <= h * tw { (tw, (tw * h / w).max(th)) } else { ((th * w / h).max(tw), th) }
}

/// `round(n / 2)` as Python rounds: a half goes to the even neighbour.
fn half_to_even(n: u64) -> u64 {
    n / 2 + u64::from(n % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_sizes_are_torchvisions() {
        // torchvision.transforms.Resize(224) of these (width, height) pairs.
        for ((w, h), expected) in
            [((640, 427), (335, 224)), ((427, 640), (224, 335)), ((37, 53), (224, 320)), ((224, 224), (224, 224))]
        {
            assert_eq!(covering_size(w, h, 224, 224), expected);
        }
        assert_eq!(covering_size(100, 50, 64, 64), (128, 64));
        assert_eq!(covering_size(100, 50, 64, 16), (64, 32));
    }

    #[test]
    fn centre_offsets_round_as_python() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 111].map(half_to_even), [0, 0, 1, 2, 2, 2, 4, 56]);
    }

    #[test]
    fn normalised_planes_are_channel_first() {
        let picture = Picture::from_rgb8(2, 1, vec![0, 51, 255, 255, 102, 0]).unwrap();
        let pre = Preprocess {
            width: 2,
            height: 1,
            rule: ResizeRule::Stretch,
            filter: Filter::Bicubic,
            mean: [0.0, 0.2, 0.5],
            std: [1.0, 0.2, 0.5],
        };
        let got = pre.apply(&picture);
        for (a, b) in got.iter().zip([0.0, 1.0, 0.0, 1.0, 1.0, -1.0]) {
            assert!((a - b).abs() < 1e-6, "{got:?}");
        }
    }

    #[test]
    fn extreme_shapes_crop_in_bounded_memory() {
        let picture = Picture::from_rgb8(1, 1_000_000, vec![7; 3_000_000]).unwrap();
        let pre = Preprocess {
            width: 256,
            height: 256,
            rule: ResizeRule::Crop,
            filter: Filter::Lanczos,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let small = pre.fit(&picture);
        assert_eq!((small.width(), small.height()), (256, 256));
        assert!(small.as_rgb8().iter().all(|&v| v == 7));
    }
}

//! Resampling with Pillow's filters: separable convolution whose support grows with the shrink factor, 8-bit between the
//! two passes. Source: Pillow `src/libImaging/Resample.c`; the kernels are those of the `fast_image_resize` crate.
use std::str::FromStr;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::Picture;
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

impl From<Filter> for FilterType {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
            Filter::Lanczos => FilterType::Lanczos3,
        }
    }
}

/// The whole picture, resampled to `width` x `height`.
pub(super) fn whole(picture: &Picture, width: u32, height: u32, filter: Filter) -> Picture {
    if (width, height) == (picture.width, picture.height) {
        return picture.clone();
    }
    part(picture, [0.0, 0.0, f64::from(picture.width), f64::from(picture.height)], width, height, filter)
}

/// The rectangle `[left, top, width, height]` of `picture` (fractions of a pixel allowed), resampled. Pixels outside the
/// rectangle still take part at its edges, so the result equals a cut out of the whole picture resampled.
pub(super) fn part(picture: &Picture, rect: [f64; 4], width: u32, height: u32, filter: Filter) -> Picture {
    let (width, height) = (width.max(1), height.max(1));
    let source = ImageRef::new(picture.width, picture.height, &picture.rgb, PixelType::U8x3)
        .expect("a Picture holds exactly width * height * 3 bytes");
    let mut target = Image::new(width, height, PixelType::U8x3);
    let [left, top, w, h] = rect;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter.into())).crop(left, top, w, h);
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both pictures are RGB and the rectangle lies inside the source");
    Picture { width, height, rgb: target.into_vec() }
}

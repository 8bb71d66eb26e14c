//! A picture as the image tower saw it.

use crate::bundle::Manifest;
use crate::engine::Patches;
use crate::picture::ResizeRule;

/// The outputs of one run of the image tower, and where in the original picture they come from.
#[derive(Clone)]
pub struct View {
    /// The picture's embedding, of length 1.
    pub embedding: Vec<f32>,
    /// Patch tokens, where the bundle has them.
    pub patches: Option<Patches>,
    /// Width of the original picture in pixels.
    pub width: u32,
    /// Height of the original picture in pixels.
    pub height: u32,
    /// Milliseconds spent in resizing and normalising.
    pub preprocess_ms: f64,
    /// Milliseconds spent in the image tower.
    pub tower_ms: f64,
    /// The part of the original that the tower saw: `[x, y, width, height]` in pixels.
    pub(super) frame: [f32; 4],
}

impl View {
    /// A corner box in fractions of what the tower saw (`[x0, y0, x1, y1]`), as `[x, y, width, height]` in pixels of the
    /// original, cut at its edges.
    pub fn to_pixels(&self, corners: [f32; 4]) -> [f32; 4] {
        let [left, top, wide, high] = self.frame;
        let x = |fraction: f32| (left + fraction * wide).clamp(0.0, self.width as f32);
        let y = |fraction: f32| (top + fraction * high).clamp(0.0, self.height as f32);
        let (x0, x1) = (x(corners[0].min(corners[2])), x(corners[0].max(corners[2])));
        let (y0, y1) = (y(corners[1].min(corners[3])), y(corners[1].max(corners[3])));
        [x0, y0, x1 - x0, y1 - y0]
    }
}

/// The part of a `width` by `height` picture that survives the bundle's resize rule.
pub(super) fn frame(manifest: &Manifest, width: u32, height: u32) -> [f32; 4] {
    let input = manifest.picture().preprocess();
    let (w, h) = (width as f32, height as f32);
    match input.rule {
        ResizeRule::Stretch => [0.0, 0.0, w, h],
        ResizeRule::Crop => {
            let scale = (input.width as f32 / w).max(input.height as f32 / h);
            let (wide, high) = (input.width as f32 / scale, input.height as f32 / scale);
            [(w - wide) / 2.0, (h - high) / 2.0, wide, high]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(width: u32, height: u32, frame: [f32; 4]) -> View {
        View { embedding: vec![], patches: None, width, height, preprocess_ms: 0.0, tower_ms: 0.0, frame }
    }

    #[test]
    fn boxes_of_a_stretched_picture_scale_each_side_by_itself() {
        let view = view(400, 100, [0.0, 0.0, 400.0, 100.0]);
        assert_eq!(view.to_pixels([0.25, 0.5, 0.75, 1.0]), [100.0, 50.0, 200.0, 50.0]);
    }

    #[test]
    fn boxes_of_a_cropped_picture_are_moved_back_and_cut_at_the_edges() {
        let view = view(400, 100, [150.0, 0.0, 100.0, 100.0]);
        assert_eq!(view.to_pixels([0.0, 0.0, 0.5, 1.0]), [150.0, 0.0, 50.0, 100.0]);
        assert_eq!(view.to_pixels([0.0, -1.0, 9.0, 2.0]), [150.0, 0.0, 250.0, 100.0]);
    }
}

//! Where in the picture is this?

use crate::Result;
use crate::bundle::Role;
use crate::engine::Grounder;

use super::answer::{Boxes, Found};
use super::looker::{Looker, lazily, sigmoid};
use super::view::View;

/// Overlap from which the weaker of two boxes is dropped.
const NMS_IOU: f32 = 0.5;

/// Overlap from which boxes take part in where a kept box lies.
const VOTING_IOU: f32 = 0.4;

/// Which boxes to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundOptions {
    /// Least score.
    pub threshold: f32,
    /// Most boxes.
    pub top: usize,
}

impl Default for GroundOptions {
    fn default() -> Self {
        Self { threshold: 0.3, top: 5 }
    }
}

impl Looker {
    /// The boxes that `phrase` names. Of two boxes that overlap by an IoU above one half only the better is kept, and lies
    /// where it and its neighbours say: their mean, weighted by the squares of their scores.
    pub fn ground(&self, view: &View, phrase: &str, options: &GroundOptions) -> Result<Boxes> {
        let grounder = self.grounder()?;
        let calibration = self.calibration()?;
        let patches = view.patches.as_ref().ok_or_else(|| self.lacks("patch tokens", "point at things"))?;
        let phrase = self.embed_text(phrase)?;
        let mut found: Vec<Found> = grounder
            .locate(patches, &phrase)?
            .into_iter()
            .map(|(corners, logit)| Found {
                rect: view.to_pixels(corners),
                score: sigmoid(calibration.ground_scale * logit + calibration.ground_bias),
            })
            .filter(|found| found.rect[2] > 0.0 && found.rect[3] > 0.0)
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let sure = &found[..found.partition_point(|found| found.score >= options.threshold)];
        let boxes = distinct(sure, options.top).iter().map(|kept| voted(kept, &found)).collect();
        Ok(Boxes { boxes })
    }

    /// Loads the grounding head if it is not there yet.
    pub(crate) fn grounder(&self) -> Result<&Grounder> {
        if !self.bundle.has(Role::Ground) {
            return Err(self.lacks("grounding head", "point at things"));
        }
        lazily(&self.grounder, || Grounder::load(&self.bundle, &self.options))
    }
}

/// Greedy non-maximum suppression of boxes that are sorted best first.
fn distinct(sorted: &[Found], top: usize) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::new();
    for found in sorted {
        if kept.len() == top {
            break;
        }
        if kept.iter().all(|better| iou(better.rect, found.rect) <= NMS_IOU) {
            kept.push(*found);
        }
    }
    kept
}

/// A kept box where all boxes near it say that it lies. Gidaris and Komodakis, "Object detection via a multi-region and
/// semantic segmentation-aware CNN model", arXiv 1505.01749.
fn voted(kept: &Found, all: &[Found]) -> Found {
    let (mut rect, mut votes) = ([0.0; 4], 0.0);
    for near in all.iter().filter(|near| iou(kept.rect, near.rect) > VOTING_IOU) {
        let vote = near.score * near.score;
        votes += vote;
        rect.iter_mut().zip(near.rect).for_each(|(sum, side)| *sum += vote * side);
    }
    // Nothing votes where every score is too small to be squared.
    if votes > 0.0 { Found { rect: rect.map(|sum| sum / votes), ..*kept } } else { *kept }
}

/// Area shared by two boxes `[x, y, width, height]` over the area that they cover together, `0..=1`. Boxes without area
/// share nothing.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |axis: usize| (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]) - a[axis].max(b[axis]);
    let shared = side(0).max(0.0) * side(1).max(0.0);
    let covered = a[2] * a[3] + b[2] * b[3] - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rect: [f32; 4], score: f32) -> Found {
        Found { rect, score }
    }

    #[test]
    fn of_two_boxes_on_one_thing_the_better_is_kept() {
        let boxes = [
            found([0.0, 0.0, 10.0, 10.0], 0.9),
            found([1.0, 0.0, 10.0, 10.0], 0.8),
            found([20.0, 20.0, 5.0, 5.0], 0.7),
        ];
        assert_eq!(distinct(&boxes, 5), [boxes[0], boxes[2]]);
        assert_eq!(distinct(&boxes, 1), [boxes[0]]);
    }

    #[test]
    fn a_box_lies_where_its_neighbours_say() {
        let boxes = [
            found([0.0, 0.0, 10.0, 10.0], 0.8),
            found([2.0, 0.0, 10.0, 10.0], 0.4),
            found([20.0, 20.0, 5.0, 5.0], 0.7),
        ];
        let kept = voted(&boxes[0], &boxes);
        assert_eq!(kept.score, 0.8);
        for (side, expected) in kept.rect.into_iter().zip([0.4, 0.0, 10.0, 10.0]) {
            assert!((side - expected).abs() < 1e-5, "{:?}", kept.rect);
        }
        assert_eq!(voted(&boxes[2], &boxes), boxes[2]);
        let faint = found([0.0, 0.0, 1.0, 1.0], 0.0);
        assert_eq!(voted(&faint, &[faint]), faint);
    }

    #[test]
    fn iou_of_half_covered_apart_same_and_empty_boxes() {
        assert!((iou([0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0]) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(iou([0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 1.0, 1.0]), 0.0);
        assert_eq!(iou([0.1, 0.1, 0.4, 0.4], [0.1, 0.1, 0.4, 0.4]), 1.0);
        assert_eq!(iou([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]), 0.0);
    }
}

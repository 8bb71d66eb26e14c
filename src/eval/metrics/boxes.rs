//! Boxes `[x, y, width, height]`, origin at the top left, all in one unit.

/// Area shared by two boxes over the area that they cover together, 0 to 1. Boxes without area share nothing.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |axis: usize| (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]) - a[axis].max(b[axis]);
    let shared = side(0).max(0.0) * side(1).max(0.0);
    let covered = a[2] * a[3] + b[2] * b[3] - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

/// Whether the centre of `inner` lies in `outer`, edges included.
pub fn contains(outer: [f32; 4], inner: [f32; 4]) -> bool {
    (0..2).all(|axis| {
        let centre = inner[axis] + inner[axis + 2] / 2.0;
        (outer[axis]..=outer[axis] + outer[axis + 2]).contains(&centre)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_covered_apart_same_and_empty_boxes() {
        assert!((iou([0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0]) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(iou([0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 1.0, 1.0]), 0.0);
        assert_eq!(iou([0.1, 0.1, 0.4, 0.4], [0.1, 0.1, 0.4, 0.4]), 1.0);
        assert_eq!(iou([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]), 0.0);
    }

    #[test]
    fn a_box_points_with_its_centre() {
        let target = [0.4, 0.4, 0.2, 0.2];
        assert!(contains(target, [0.0, 0.0, 1.0, 1.0]));
        assert!(!contains(target, [0.0, 0.0, 0.6, 0.6]));
    }
}

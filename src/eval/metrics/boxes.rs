//! Boxes `[x, y, width, height]`, origin at the top left, all in one unit.

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
    fn a_box_points_with_its_centre() {
        let target = [0.4, 0.4, 0.2, 0.2];
        assert!(contains(target, [0.0, 0.0, 1.0, 1.0]));
        assert!(!contains(target, [0.0, 0.0, 0.6, 0.6]));
    }
}

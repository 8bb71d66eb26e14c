//! What is known of a packed matrix, by which the kernels of AArch64 see which sums and results fit 16 bits.

use super::neon_levels::FITS;
use super::pack::{GROUP, Line, PANEL, Packed};
use super::quantise::{Form, View};
use super::{Kernel, Set};

/// Rows in a piece.
pub(super) const PIECE: usize = 16;
/// The most that the magnitudes of 4 weights can sum up to, for 4 products with activations within 127 to fit 16 bits.
const CALM: u32 = i16::MAX as u32 / 127;

/// See the module.
#[derive(Clone)]
pub(super) struct Bounds {
    /// For each panel and each whole piece: bit `i` says whether some 4 weights of a column that are 4 rows apart, of columns
    /// `4 i` to `4 i + 3`, are so large that 4 products may not fit 16 bits. Few are, as few weights come near the largest of
    /// their column.
    pub(super) wild: Vec<u8>,
    /// For each panel, each whole piece and each 4 columns, half of the most that the squares of 4 activations that are 4 apart
    /// can sum up to, for 4 products of any of these columns to fit 16 bits: a sum of products is at most the root of the product of both sums of
    /// squares (Cauchy and Schwarz).
    pub(super) energy: Vec<[u16; 4]>,
    /// For each panel, the largest row scale with which all results are [fitting](super::neon_levels), if activations are
    /// within 128.
    pub(super) row_scale: Vec<f32>,
}

impl Bounds {
    /// Of panels of `groups` lines each, with scales and biases of whole panels.
    pub(super) fn new(lines: &[Line], groups: usize, scale: &[f32], bias: &[f32]) -> Self {
        let pieces = groups / (PIECE / GROUP) * (PIECE / GROUP);
        let panels = || lines.chunks_exact(groups);
        let ends = scale.chunks_exact(PANEL).zip(bias.chunks_exact(PANEL));
        let pieces = || panels().flat_map(|lines| lines[..pieces].chunks_exact(PIECE / GROUP));
        Bounds {
            wild: pieces().map(wild).collect(),
            energy: pieces().map(energy).collect(),
            row_scale: panels().zip(ends).map(|(lines, (scale, bias))| row_scale(lines, scale, bias)).collect(),
        }
    }
}

/// What is known for a product, from a panel on.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// [`Bounds::wild`] of the panel; null where it is not known or not asked for.
    pub(super) wild: *const u8,
    /// [`Bounds::energy`] of the panel, or null.
    pub(super) energy: *const [u16; 4],
    /// [`Bounds::row_scale`] of the panel, or null.
    row_scale: *const f32,
    /// The largest row scale.
    most: f32,
    /// Pieces in a panel.
    pieces: usize,
}

impl Known {
    /// `levels` says whether results become levels.
    pub(super) fn new(kernel: Kernel, rows: View, weights: &Packed, panel: usize, levels: bool) -> Self {
        let pieces = rows.depth / PIECE;
        let bounds = matches!(kernel.0, Set::Neon | Set::NeonDot).then(|| weights.bounds()).flatten();
        // The sums of levels are raised by what makes them signed.
        let factor = if rows.form == Form::Levels { 2.0 } else { 1.0 };
        // Bit patterns of magnitudes are in their order, with NaN, which fits nothing, above all.
        let magnitude = |scale: &f32| scale.abs().to_bits();
        let most = match levels && rows.scaled {
            true => f32::from_bits(rows.scale.iter().map(magnitude).fold(0, u32::max)),
            false => 1.0,
        };
        let most = most * factor;
        match bounds {
            Some(bounds) => Known {
                wild: bounds.wild[panel * pieces..].as_ptr(),
                // Level 0 is far from the middle of signed levels: most of their sums of squares are too large.
                energy: match rows.form {
                    Form::Levels => std::ptr::null(),
                    _ => bounds.energy[panel * pieces..].as_ptr(),
                },
                row_scale: bounds.row_scale[panel..].as_ptr(),
                most,
                pieces,
            },
            None => {
                Known { wild: std::ptr::null(), energy: std::ptr::null(), row_scale: std::ptr::null(), most, pieces }
            }
        }
    }

    /// The same from panel `panel` on.
    ///
    /// # Safety
    /// There must be so many panels.
    #[inline(always)]
    pub(super) unsafe fn at_panel(self, panel: usize) -> Self {
        if self.row_scale.is_null() {
            return self;
        }
        // SAFETY: there is a number for each panel, and one for each of its pieces.
        unsafe {
            let by = panel * self.pieces;
            let energy = if self.energy.is_null() { self.energy } else { self.energy.add(by) };
            Known { wild: self.wild.add(by), energy, row_scale: self.row_scale.add(panel), ..self }
        }
    }

    /// Whether all results of the panel that become levels fit 16 bits.
    pub(super) fn fitting(self) -> bool {
        // SAFETY: there is a number for the panel.
        !self.row_scale.is_null() && self.most <= unsafe { *self.row_scale }
    }
}

/// For each byte of a line, the sum over the lines of what `of` makes of it.
fn sums(lines: &[Line], of: impl Fn(u32) -> u32) -> [u32; PANEL * GROUP] {
    let mut sums = [0; PANEL * GROUP];
    for line in lines {
        for (sum, byte) in sums.iter_mut().zip(line.0) {
            *sum += of(byte.unsigned_abs().into());
        }
    }
    sums
}

fn wild(piece: &[Line]) -> u8 {
    let sums = sums(piece, |magnitude| magnitude);
    let over = |quad: usize| sums[16 * quad..][..16].iter().any(|sum| *sum > CALM);
    (0..4).fold(0, |bits, quad| bits | u8::from(over(quad)) << quad)
}

fn energy(piece: &[Line]) -> [u16; 4] {
    let sums = sums(piece, |magnitude| magnitude * magnitude);
    std::array::from_fn(|quad| {
        let most = sums[16 * quad..][..16].iter().fold(0, |most, sum| most.max(*sum));
        let limit = (i16::MAX as u32).pow(2) / (2 * most).max(1);
        limit.min(u16::MAX.into()) as u16
    })
}

fn row_scale(lines: &[Line], scale: &[f32], bias: &[f32]) -> f32 {
    let sums = sums(lines, |magnitude| magnitude);
    let most = |column: usize| {
        let sum: u32 = sums[column * GROUP..][..GROUP].iter().sum();
        (FITS - bias[column].abs()) / (128.0 * sum as f32 * scale[column])
    };
    // Not a number where nothing is multiplied and the bias does not fit.
    (0..PANEL).map(most).fold(f32::MAX, |a, b| if b >= 0.0 { a.min(b) } else { -1.0 })
}

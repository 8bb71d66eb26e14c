//! What is known of a packed matrix, by which the kernels of AArch64 see which sums and results fit 16 bits.

use std::ptr;
use std::sync::OnceLock;

use super::levels::LIFT;
use super::neon_levels::FITS;
use super::pack::{GROUP, Line, PANEL, Packed, add_columns};
use super::quantise::{Form, View};
use super::{Kernel, Set};

/// Rows in a piece.
pub(super) const PIECE: usize = 16;
/// The most pieces of a panel whose sums are looked at.
pub(super) const MOST_PIECES: usize = 128;
/// Pieces from which on it pays to look for those where a row is level 0.
pub(super) const MANY_PIECES: usize = 16;
/// Pieces up to which there is a limit for each lane, and not one for a piece.
const FEW_PIECES: usize = 3;
/// The most that the magnitudes of 4 weights can sum up to, for 4 products with activations within 127 to fit 16 bits.
const CALM: u32 = i16::MAX as u32 / 127;

/// See the module.
#[derive(Clone)]
pub(super) struct Bounds {
    /// For each panel [`programme`] of its pieces. Bit `i` of a wild one says that some 4 weights of a column that are 4 rows
    /// apart, of columns `4 i` to `4 i + 3`, are so large that 4 products may not fit 16 bits. Few are, as few weights come
    /// near the largest of their column. Empty for more than [`MOST_PIECES`].
    pub(super) runs: Vec<u8>,
    /// For each panel [`limits`] numbers: for each piece, or each of its 4 lanes, half of the most that the squares of 4
    /// activations that are 4 apart can sum up to, for 4 products of any column to fit 16 bits. A sum of products is at most
    /// the root of the product of both sums of squares (Cauchy and Schwarz).
    pub(super) limits: Vec<u16>,
    /// For each panel, the largest row scale with which all results are [fitting](super::neon_levels), if activations are
    /// within 128.
    row_scale: Vec<f32>,
    /// For each panel, and for each piece and behind the last one, 127 times the sum of each column above it. Only where rows
    /// are levels and pieces are many.
    lifts: OnceLock<Vec<[i32; PANEL]>>,
}

/// Whether there is a limit for each of 4 lanes.
pub(super) fn by_lanes(pieces: usize) -> bool {
    pieces <= FEW_PIECES
}

/// Limits of a panel, in whole registers, at least one.
pub(super) fn limits(pieces: usize) -> usize {
    let count = if by_lanes(pieces) { 4 * pieces } else { pieces };
    count.max(1).next_multiple_of(8)
}

/// Bytes of a programme.
fn programme_len(pieces: usize) -> usize {
    2 * pieces + 2
}

/// The pieces as [`Turned`](super::neon_tile::Turned) runs them: how many are calm, the bits of the wild one after them, and
/// so on; no bits at the end.
pub(super) fn programme(wild: impl Iterator<Item = u8>, runs: &mut [u8]) {
    let (mut calm, mut at) = (0, 0);
    for wild in wild {
        if wild == 0 {
            calm += 1;
        } else {
            runs[at..at + 2].copy_from_slice(&[calm, wild]);
            (calm, at) = (0, at + 2);
        }
    }
    runs[at..at + 2].copy_from_slice(&[calm, 0]);
}

impl Bounds {
    /// Of panels of `groups` lines each, with scales and biases of whole panels.
    pub(super) fn new(lines: &[Line], groups: usize, scale: &[f32], bias: &[f32]) -> Self {
        let pieces = groups / (PIECE / GROUP);
        let panels = || lines.chunks_exact(groups);
        let ends = scale.chunks_exact(PANEL).zip(bias.chunks_exact(PANEL));
        let row_scale = panels().zip(ends).map(|(lines, (scale, bias))| row_scale(lines, scale, bias)).collect();
        let (mut runs, mut limit) = (Vec::new(), Vec::new());
        if pieces <= MOST_PIECES {
            for lines in panels() {
                let of_piece = |piece: &[Line]| [sums(piece, |magnitude| magnitude), sums(piece, |m| m * m)];
                let found: Vec<_> = lines.chunks_exact(PIECE / GROUP).map(of_piece).collect();
                let at = runs.len();
                runs.resize(at + programme_len(pieces), 0);
                programme(found.iter().map(|[magnitudes, _]| wild(magnitudes)), &mut runs[at..]);
                let at = limit.len();
                limit.resize(at + limits(pieces), u16::MAX);
                for (i, [magnitudes, squares]) in found.iter().enumerate() {
                    let lanes = energy(magnitudes, squares);
                    if by_lanes(pieces) {
                        limit[at + 4 * i..][..4].copy_from_slice(&lanes);
                    } else {
                        limit[at + i] = lanes.into_iter().fold(u16::MAX, u16::min);
                    }
                }
            }
        }
        Bounds { runs, limits: limit, row_scale, lifts: OnceLock::new() }
    }

    fn lifts(&self, lines: &[Line], groups: usize) -> &[[i32; PANEL]] {
        self.lifts.get_or_init(|| lines.chunks_exact(groups).flat_map(lifts).collect())
    }
}

/// What is known for a product, from a panel on.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The programme of the panel; null where it is not known or not asked for.
    pub(super) runs: *const u8,
    /// The limits of the panel, or null.
    pub(super) limits: *const u16,
    /// Of the panel, what [`Bounds::lifts`] has, or null.
    pub(super) lifts: *const [i32; PANEL],
    /// [`Bounds::row_scale`] of the panel, or null.
    row_scale: *const f32,
    /// The largest row scale.
    most: f32,
    /// Pieces in a panel.
    pieces: usize,
}

impl Known {
    /// `to_levels` says whether results become levels.
    pub(super) fn new(kernel: Kernel, rows: View, weights: &Packed, panel: usize, to_levels: bool) -> Self {
        let pieces = rows.depth / PIECE;
        let bounds = matches!(kernel.0, Set::Neon | Set::NeonDot).then(|| weights.bounds()).flatten();
        let levels = rows.form == Form::Levels;
        // The sums of levels are raised by what makes them signed.
        let factor = if levels { 2.0 } else { 1.0 };
        // Bit patterns of magnitudes are in their order, with NaN, which fits nothing, above all.
        let magnitude = |scale: &f32| scale.abs().to_bits();
        let most = match to_levels && rows.scaled {
            true => f32::from_bits(rows.scale.iter().map(magnitude).fold(0, u32::max)),
            false => 1.0,
        };
        let none = Known {
            runs: ptr::null(),
            limits: ptr::null(),
            lifts: ptr::null(),
            row_scale: ptr::null(),
            most: most * factor,
            pieces,
        };
        let Some(bounds) = bounds else { return none };
        let known = Known { row_scale: bounds.row_scale[panel..].as_ptr(), ..none };
        if kernel.0 != Set::Neon || bounds.runs.is_empty() {
            return known;
        }
        Known {
            runs: bounds.runs[panel * programme_len(pieces)..].as_ptr(),
            // Level 0 is far from the middle of signed levels: most of their sums of squares are too large.
            limits: if levels { ptr::null() } else { bounds.limits[panel * limits(pieces)..].as_ptr() },
            lifts: if levels && pieces >= MANY_PIECES {
                let (lines, groups) = weights.all_lines();
                bounds.lifts(lines, groups)[panel * (pieces + 1)..].as_ptr()
            } else {
                ptr::null()
            },
            ..known
        }
    }

    /// The same from panel `panel` on.
    ///
    /// # Safety
    /// There must be so many panels.
    #[inline(always)]
    pub(super) unsafe fn at_panel(self, panel: usize) -> Self {
        // SAFETY: there is so much for each panel, where it is known.
        unsafe {
            Known {
                runs: at(self.runs, panel * programme_len(self.pieces)),
                limits: at(self.limits, panel * limits(self.pieces)),
                lifts: at(self.lifts, panel * (self.pieces + 1)),
                row_scale: at(self.row_scale, panel),
                ..self
            }
        }
    }

    /// Whether all results of the panel that become levels fit 16 bits.
    pub(super) fn fitting(self) -> bool {
        // SAFETY: there is a number for the panel.
        !self.row_scale.is_null() && self.most <= unsafe { *self.row_scale }
    }

    /// Whether 4 products fit 16 bits everywhere in the panel.
    pub(super) fn is_calm(self) -> bool {
        // SAFETY: a programme has at least 2 bytes.
        !self.runs.is_null() && unsafe { *self.runs.add(1) } == 0
    }
}

/// # Safety
/// Unless it is null, there must be so many behind it.
#[inline(always)]
unsafe fn at<T>(pointer: *const T, by: usize) -> *const T {
    // SAFETY: the caller's promise.
    if pointer.is_null() { pointer } else { unsafe { pointer.add(by) } }
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

/// Of a piece, by the sums of its weights' magnitudes.
fn wild(magnitudes: &[u32; PANEL * GROUP]) -> u8 {
    let over = |quad: usize| magnitudes[16 * quad..][..16].iter().any(|sum| *sum > CALM);
    (0..4).fold(0, |bits, quad| bits | u8::from(over(quad)) << quad)
}

/// Of each lane of a piece, by the sums of magnitudes and of squares; the largest number where all weights are small.
fn energy(magnitudes: &[u32; PANEL * GROUP], squares: &[u32; PANEL * GROUP]) -> [u16; 4] {
    std::array::from_fn(|lane| {
        let most = |sums: &[u32; PANEL * GROUP]| sums[lane..].iter().step_by(GROUP).fold(0, |most, sum| most.max(*sum));
        let limit = (i16::MAX as u32).pow(2) / (2 * most(squares)).max(1);
        if most(magnitudes) <= CALM { u16::MAX } else { limit.min(u16::MAX.into()) as u16 }
    })
}

/// Of a panel: see [`Bounds::lifts`].
fn lifts(lines: &[Line]) -> Vec<[i32; PANEL]> {
    let mut lifts = vec![[0; PANEL]];
    for piece in lines.chunks_exact(PIECE / GROUP) {
        let mut lift = lifts[lifts.len() - 1];
        for line in piece {
            let mut sums = [0; PANEL];
            add_columns(&line.0, &mut sums);
            lift.iter_mut().zip(sums).for_each(|(lift, sum)| *lift += LIFT * sum);
        }
        lifts.push(lift);
    }
    lifts
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

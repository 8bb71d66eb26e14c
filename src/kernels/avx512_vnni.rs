//! AVX-512 with VNNI: `vpdpbusd` sums 4 products of an unsigned and a signed byte into each of 16 columns. Activations
//! carry an offset of 128, which the column's correction takes back.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::dots::four_wide_levels;
use super::ending::Ending;
use super::{PANEL, Tile, pack::GROUP};

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`, and the machine must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    let mut panel = 0;
    while panel < panels {
        // No single panel is left over, which would read as many activations for a quarter of the products.
        let width = match panels - panel {
            left @ 1..=4 => left,
            5 | 6 | 9 => 3,
            _ => 4,
        };
        // SAFETY: `panel < panels`, and `at` describes the `panels - panel >= width` panels that are left.
        unsafe {
            let at = tile.at_panel(panel);
            match width {
                4 => strip::<6, 4>(at, rows),
                3 => strip::<8, 3>(at, rows),
                2 => strip::<12, 2>(at, rows),
                _ => strip::<12, 1>(at, rows),
            }
        }
        panel += width;
    }
}

/// All rows of `PANELS` panels, `ROWS` at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn strip<const ROWS: usize, const PANELS: usize>(tile: Tile, rows: usize) {
    let mut row = 0;
    while row < rows {
        // SAFETY: `row < rows`, and at least as many rows are left as the block has.
        row += unsafe {
            let at = tile.at_row(row);
            match (rows - row).min(ROWS) {
                12 => block::<12, PANELS>(at),
                8..=11 => block::<8, PANELS>(at),
                6 | 7 => block::<6, PANELS>(at),
                5 => block::<5, PANELS>(at),
                4 => block::<4, PANELS>(at),
                3 => block::<3, PANELS>(at),
                2 => block::<2, PANELS>(at),
                _ => block::<1, PANELS>(at),
            }
        };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
unsafe fn block<const ROWS: usize, const PANELS: usize>(tile: Tile) -> usize {
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    // SAFETY: `tile` holds ROWS rows of `depth` bytes, PANELS panels of `depth * PANEL` bytes, and as many starts as whole panels
    // have columns.
    unsafe {
        if !tile.start.is_null() {
            for p in 0..PANELS {
                let start = _mm512_loadu_si512(tile.start.add(p * PANEL).cast());
                for row in &mut sums {
                    row[p] = start;
                }
            }
        }
        for group in 0..tile.depth / GROUP {
            let mut weights = [_mm512_setzero_si512(); PANELS];
            for (p, w) in weights.iter_mut().enumerate() {
                *w = _mm512_load_si512(tile.weights.add(p * tile.depth * PANEL + group * PANEL * GROUP).cast());
            }
            for (m, row) in sums.iter_mut().enumerate() {
                let q = tile.rows.add(m * tile.depth + group * GROUP).cast::<i32>().read_unaligned();
                let q = _mm512_set1_epi32(q);
                for p in 0..PANELS {
                    row[p] = _mm512_dpbusd_epi32(row[p], q, weights[p]);
                }
            }
        }
        if !tile.ending.levels.is_null() {
            levels(tile.ending, sums);
            return ROWS;
        }
        // A copy, so that the sums themselves can stay in registers until here.
        let mut done = MaybeUninit::<[[__m512i; PANELS]; ROWS]>::uninit();
        let to = done.as_mut_ptr().cast::<__m512i>();
        for (m, row) in sums.iter().enumerate() {
            for (p, sum) in row.iter().enumerate() {
                to.add(m * PANELS + p).write(*sum);
            }
        }
        finish(tile, to.cast(), ROWS, PANELS * PANEL);
    }
    ROWS
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline]
unsafe fn levels<const ROWS: usize, const PANELS: usize>(ending: Ending, sums: [[__m512i; PANELS]; ROWS]) {
    // SAFETY: scales, biases and rows of levels have PANELS whole panels here, and there are ROWS rows.
    unsafe {
        for (m, row) in sums.into_iter().enumerate() {
            let row_scale = _mm512_set1_ps(*ending.row_scale.add(m));
            let (mut sums, mut ends) = ([_mm512_setzero_si512(); 4], [[_mm512_setzero_ps(); 2]; 4]);
            for (i, (sum, ends)) in sums.iter_mut().zip(&mut ends).enumerate() {
                let panel = i.min(PANELS - 1);
                *sum = row[panel];
                ends[0] = _mm512_mul_ps(row_scale, _mm512_loadu_ps(ending.scale.add(panel * PANEL)));
                ends[1] = _mm512_loadu_ps(ending.bias.add(panel * PANEL));
            }
            let bytes = four_wide_levels(sums, ends);
            let to = ending.levels.add(m * ending.stride);
            match PANELS {
                4 => _mm512_storeu_si512(to.cast(), bytes),
                1 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
                _ => {
                    _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes));
                    if PANELS == 3 {
                        _mm_storeu_si128(to.add(2 * PANEL).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
                    }
                }
            }
        }
    }
}

/// Out of the blocks, so that there is one copy of it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline(never)]
unsafe fn finish(tile: Tile, sums: *const u32, rows: usize, width: usize) {
    // SAFETY: the caller's promise.
    unsafe { tile.ending.write::<__m512, true>(sums, rows, width) };
}

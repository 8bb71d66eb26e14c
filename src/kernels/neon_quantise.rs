//! Activations to int8 on AArch64: see `quantise`. Many rows are short, so what is done once a row is what counts.

use std::arch::aarch64::*;
use std::array::from_fn;

use super::quantise::SMALLEST;

/// Floats that are looked at together.
const EIGHT: usize = 8;
/// Rows whose scales are made together.
const ROWS: usize = 4;

/// Whether rows of so many floats are for this function.
pub(super) fn takes(depth: usize) -> bool {
    depth >= 2 * EIGHT && depth.is_multiple_of(EIGHT)
}

/// Quantises rows of `depth` floats from row `first` on; returns the first row that holds NaN or an infinity, which is left,
/// or the number of rows.
///
/// # Panics
/// When `bytes` or `scale` do not have as many rows, or rows of this depth are not taken.
pub(super) fn rows(x: &[f32], depth: usize, bytes: &mut [u8], scale: &mut [f32], first: usize) -> usize {
    let count = x.len() / depth;
    assert!(
        takes(depth) && bytes.len() >= count * depth && scale.len() >= count && first <= count,
        "room for the rows"
    );
    // SAFETY: there are `count` rows of floats, bytes and scales.
    unsafe {
        match depth {
            16 => each_row::<16>(x, depth, bytes, scale, first),
            24 => each_row::<24>(x, depth, bytes, scale, first),
            _ => each_row::<0>(x, depth, bytes, scale, first),
        }
    }
}

/// `DEPTH` is the depth, or 0 where that is not known here.
unsafe fn each_row<const DEPTH: usize>(
    x: &[f32],
    depth: usize,
    bytes: &mut [u8],
    scale: &mut [f32],
    first: usize,
) -> usize {
    let depth = if DEPTH > 0 { DEPTH } else { depth };
    let count = x.len() / depth;
    // SAFETY: the caller's promise; `depth` is a multiple of 8, and at least 16.
    unsafe {
        let (mut from, mut to) = (x.as_ptr().add(first * depth), bytes.as_mut_ptr().add(first * depth));
        let mut row = first;
        while row < count {
            if row + ROWS <= count {
                let [a, b, c, d] = from_fn(|i| most(from.add(i * depth), depth));
                let most = vpmaxq_u32(vpmaxq_u32(a, b), vpmaxq_u32(c, d));
                if vmaxvq_u32(most) < f32::INFINITY.to_bits() {
                    let largest = vreinterpretq_f32_u32(most);
                    let (steps, enough) = (vdupq_n_f32(127.0), vcgeq_f32(largest, vdupq_n_f32(SMALLEST)));
                    let where_enough = |v| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), enough));
                    let inverse = where_enough(vdivq_f32(steps, largest));
                    vst1q_f32(scale[row..row + ROWS].as_mut_ptr(), where_enough(vdivq_f32(largest, steps)));
                    round(from, depth, |v| vmulq_laneq_f32::<0>(v, inverse), to);
                    round(from.add(depth), depth, |v| vmulq_laneq_f32::<1>(v, inverse), to.add(depth));
                    round(from.add(2 * depth), depth, |v| vmulq_laneq_f32::<2>(v, inverse), to.add(2 * depth));
                    round(from.add(3 * depth), depth, |v| vmulq_laneq_f32::<3>(v, inverse), to.add(3 * depth));
                    (from, to) = (from.add(ROWS * depth), to.add(ROWS * depth));
                    row += ROWS;
                    continue;
                }
            }
            let most = vmaxvq_u32(most(from, depth));
            if most >= f32::INFINITY.to_bits() {
                return row;
            }
            let largest = f32::from_bits(most);
            let (inverse, unit) = if largest >= SMALLEST { (127.0 / largest, largest / 127.0) } else { (0.0, 0.0) };
            scale[row] = unit;
            round(from, depth, |v| vmulq_n_f32(v, inverse), to);
            (from, to) = (from.add(depth), to.add(depth));
            row += 1;
        }
    }
    count
}

/// The largest bit pattern of a magnitude among `depth` floats in one of the lanes: they are in the order of what they stand
/// for, with NaN above infinity.
#[inline(always)]
unsafe fn most(from: *const f32, depth: usize) -> uint32x4_t {
    // SAFETY: the caller's promise; `depth` is a multiple of 8, and at least 16.
    unsafe {
        let magnitude = |v: float32x4_t| vreinterpretq_u32_f32(vabsq_f32(v));
        let mut most = [vdupq_n_u32(0); 4];
        let mut k = 0;
        while k + 16 <= depth {
            let v = vld1q_f32_x4(from.add(k));
            for (most, v) in most.iter_mut().zip([v.0, v.1, v.2, v.3]) {
                *most = if k == 0 { magnitude(v) } else { vmaxq_u32(*most, magnitude(v)) };
            }
            k += 16;
        }
        if k < depth {
            let v = vld1q_f32_x2(from.add(k));
            most[0] = vmaxq_u32(most[0], magnitude(v.0));
            most[1] = vmaxq_u32(most[1], magnitude(v.1));
        }
        vmaxq_u32(vmaxq_u32(most[0], most[1]), vmaxq_u32(most[2], most[3]))
    }
}

/// `depth` floats, as `scaled` has them, to bytes.
#[inline(always)]
unsafe fn round(from: *const f32, depth: usize, scaled: impl Fn(float32x4_t) -> float32x4_t, to: *mut u8) {
    // SAFETY: the caller's promise; `depth` is a multiple of 8.
    unsafe {
        let whole = |v: float32x4_t| vreinterpretq_s16_s32(vcvtnq_s32_f32(scaled(v)));
        let two = |a: float32x4_t, b: float32x4_t| vreinterpretq_s8_s16(vuzp1q_s16(whole(a), whole(b)));
        let mut k = 0;
        while k + 16 <= depth {
            let v = vld1q_f32_x4(from.add(k));
            vst1q_s8(to.add(k).cast(), vuzp1q_s8(two(v.0, v.1), two(v.2, v.3)));
            k += 16;
        }
        if k < depth {
            let v = vld1q_f32_x2(from.add(k));
            vst1_s8(to.add(k).cast(), vmovn_s16(vreinterpretq_s16_s8(two(v.0, v.1))));
        }
    }
}

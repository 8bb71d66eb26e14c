//! Activations to int8 on AArch64: see `quantise`. Many rows are short, so what is done once a row is what counts.

use std::arch::aarch64::*;

use super::quantise::SMALLEST;

/// Floats that are looked at together.
const EIGHT: usize = 8;

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
        for (i, scale) in scale[..count].iter_mut().enumerate().skip(first) {
            // Bit patterns of magnitudes are in their order, with NaN above infinity.
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
            let most = vmaxvq_u32(vmaxq_u32(vmaxq_u32(most[0], most[1]), vmaxq_u32(most[2], most[3])));
            if most >= f32::INFINITY.to_bits() {
                return i;
            }
            let largest = f32::from_bits(most);
            let (inverse, unit) = if largest >= SMALLEST { (127.0 / largest, largest / 127.0) } else { (0.0, 0.0) };
            *scale = unit;
            let whole = |v: float32x4_t| vreinterpretq_s16_s32(vcvtnq_s32_f32(vmulq_n_f32(v, inverse)));
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
            (from, to) = (from.add(depth), to.add(depth));
        }
    }
    count
}

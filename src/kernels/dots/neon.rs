//! 128-bit registers of AArch64, with the dot product and without.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::{Dots, Lanes, TOP_LEVEL};

// SAFETY of every block below: the caller promises the instruction set and the room behind pointers.

/// With the dot product.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Sdot;

/// Without it.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Mull;

macro_rules! quarter {
    ($name:ident, $sums:ident, $x:ident, $w:ident, $dot:block) => {
        impl Dots for $name {
            type V = float32x4_t;
            type Sums = int32x4_t;
            type Bytes = int8x16_t;
            const CHANNELS: usize = 16;
            const BLANK: u8 = super::SIGNED;
            #[inline(always)]
            unsafe fn start(from: *const i32) -> int32x4_t {
                // SAFETY: see above.
                unsafe { vld1q_s32(from) }
            }
            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> int8x16_t {
                // SAFETY: see above.
                unsafe { vld1q_s8(from.cast()) }
            }
            #[inline(always)]
            unsafe fn dot($sums: int32x4_t, $x: int8x16_t, $w: int8x16_t) -> int32x4_t {
                // SAFETY: see above.
                unsafe { $dot }
            }
            #[inline(always)]
            unsafe fn floats(sums: int32x4_t) -> float32x4_t {
                // SAFETY: see above.
                unsafe { vcvtq_f32_s32(sums) }
            }
            #[inline(always)]
            unsafe fn levels<const N: usize>(sums: [int32x4_t; N], ends: [float32x4_t; 2], to: *mut u8, pitch: usize) {
                // SAFETY: see above.
                unsafe {
                    for i in (0..N).step_by(4) {
                        if i + 4 <= N {
                            let y = from_fn(|j| Self::floats(sums[i + j]).fused(ends[0], ends[1]));
                            float32x4_t::levels(y, Self::BLANK, to.add(i * pitch), pitch);
                            continue;
                        }
                        for (i, sums) in sums.into_iter().enumerate().skip(i) {
                            let y = Self::floats(sums).fused(ends[0], ends[1]).hold(vdupq_n_f32(TOP_LEVEL));
                            y.bytes(vdupq_n_f32(1.0), Self::BLANK, to.add(i * pitch));
                        }
                    }
                }
            }
            #[inline(always)]
            unsafe fn interleave(rows: [*const u8; 4], to: *mut u8) {
                // SAFETY: see above.
                unsafe { Self::interleave_16(rows, to) }
            }
            #[inline(always)]
            unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
                // SAFETY: see above.
                unsafe {
                    let [a, b, c, d] = rows.map(|row| vld1q_u8(row));
                    vst4q_u8(to, uint8x16x4_t(a, b, c, d));
                }
            }
        }
    };
}

quarter!(Sdot, sums, x, w, {
    let mut sums = sums;
    // Through `asm` because the intrinsic is not stable.
    asm!(
        ".arch_extension dotprod",
        "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
        inout(vreg) sums,
        in(vreg) x,
        in(vreg) w,
        options(pure, nomem, nostack, preserves_flags)
    );
    sums
});

// Two products of at most 127 * 128 fit 16 bits.
quarter!(Mull, sums, x, w, {
    let low = vmull_s8(vget_low_s8(x), vget_low_s8(w));
    let high = vmull_high_s8(x, w);
    vpadalq_s16(sums, vpaddq_s16(low, high))
});

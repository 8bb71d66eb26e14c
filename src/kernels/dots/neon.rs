//! 128-bit registers of AArch64, with the dot product and without.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::{Dots, Lanes, TOP_LEVEL};
use crate::kernels::lanes::Several;

// SAFETY of every block below: the caller promises the instruction set and the room behind pointers.

/// With the dot product: 8 channels, as there are registers for 8 results of them side by side.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Sdot;

/// Without it.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Mull;

/// Sums as levels, 4 registers of them at a time, then what is left.
macro_rules! levels {
    () => {
        #[inline(always)]
        unsafe fn levels<const N: usize>(sums: [Self::Sums; N], ends: [Self::V; 2], to: *mut u8, pitch: usize) {
            // SAFETY: see above.
            unsafe {
                for i in (0..N).step_by(4) {
                    if i + 4 <= N {
                        let y = from_fn(|j| Self::floats(sums[i + j]).fused(ends[0], ends[1]));
                        Self::V::levels(y, Self::BLANK, to.add(i * pitch), pitch);
                        continue;
                    }
                    for (i, sums) in sums.into_iter().enumerate().skip(i) {
                        let y = Self::floats(sums).fused(ends[0], ends[1]).hold(Self::V::splat(TOP_LEVEL));
                        y.bytes(Self::V::splat(1.0), Self::BLANK, to.add(i * pitch));
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
    };
}

impl Dots for Sdot {
    type V = Several<2>;
    type Sums = [int32x4_t; 2];
    type Bytes = [int8x16_t; 2];
    const CHANNELS: usize = 16;
    const BLANK: u8 = super::SIGNED;
    #[inline(always)]
    unsafe fn start(from: *const i32) -> [int32x4_t; 2] {
        // SAFETY: see above.
        from_fn(|i| unsafe { vld1q_s32(from.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [int8x16_t; 2] {
        // SAFETY: see above.
        from_fn(|i| unsafe { vld1q_s8(from.cast::<i8>().add(16 * i)) })
    }
    #[inline(always)]
    unsafe fn dot(mut sums: [int32x4_t; 2], x: [int8x16_t; 2], w: [int8x16_t; 2]) -> [int32x4_t; 2] {
        for i in 0..2 {
            // SAFETY: see above. Through `asm` because the intrinsic is not stable.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                    inout(vreg) sums[i],
                    in(vreg) x[i],
                    in(vreg) w[i],
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn floats(sums: [int32x4_t; 2]) -> Several<2> {
        // SAFETY: see above.
        Several(sums.map(|sums| unsafe { vcvtq_f32_s32(sums) }))
    }
    levels!();
}

impl Dots for Mull {
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
    unsafe fn dot(sums: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
        // SAFETY: see above. Two products of at most 127 * 128 fit 16 bits.
        unsafe {
            let low = vmull_s8(vget_low_s8(x), vget_low_s8(w));
            let high = vmull_high_s8(x, w);
            vpadalq_s16(sums, vpaddq_s16(low, high))
        }
    }
    #[inline(always)]
    unsafe fn floats(sums: int32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vcvtq_f32_s32(sums) }
    }
    levels!();
}

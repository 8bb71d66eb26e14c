//! 128-bit registers of AArch64, with the dot product and without.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::{COLUMNS, Dots};
use crate::kernels::lanes::{Several, unroll};
use crate::kernels::neon_levels::shifted;
use crate::kernels::quantise::ROUNDER;

// SAFETY of every block below: the caller promises the instruction set and the room behind pointers.

/// With the dot product: 8 channels, as there are registers for 8 results of them side by side.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Sdot;

/// Without it.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Mull;

/// Levels less 127 of 4 sums, not yet held: see [`Shift`](crate::kernels::levels::Shift).
#[inline(always)]
unsafe fn shifted(sums: int32x4_t, scale: float32x4_t, shift: float32x4_t) -> int16x4_t {
    // SAFETY: see above.
    unsafe {
        let whole = vreinterpretq_s32_f32(vfmaq_f32(shift, vreinterpretq_f32_s32(sums), scale));
        vqmovn_s32(vsubq_s32(whole, vdupq_n_s32(ROUNDER.to_bits() as i32)))
    }
}

/// Levels less 127, held.
#[inline(always)]
unsafe fn held(whole: int16x8_t) -> int8x8_t {
    // SAFETY: see above.
    unsafe { vmax_s8(vqmovn_s16(whole), vdup_n_s8(super::SIGNED as i8)) }
}

/// Four rows of 16 channels, those of a channel side by side.
#[inline(always)]
unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
    // SAFETY: see above.
    unsafe {
        let [a, b, c, d] = rows.map(|row| vld1q_u8(row));
        vst4q_u8(to, uint8x16x4_t(a, b, c, d));
    }
}

/// 8 channels of two results as levels, the second `$pitch` bytes after the first; `$to` moves on by both. In `asm` because 4
/// shifts at a time are loaded where the compiler would copy each.
macro_rules! two_as_levels {
    ($fit:ident, $one:expr, $two:expr, $scale:expr, $shift:expr, $ends:ident, $to:ident, $pitch:expr) => {
        asm!(
            "ld1 {{v0.4s-v3.4s}}, [{shift}]",
            "fmla v0.4s, {a:v}.4s, {low:v}.4s",
            "fmla v1.4s, {b:v}.4s, {high:v}.4s",
            "fmla v2.4s, {c:v}.4s, {low:v}.4s",
            "fmla v3.4s, {d:v}.4s, {high:v}.4s",
            shifted!($fit, "0" "1" "2" "3", "4", "{rounder:v}", "{lowest:v}"),
            "st1 {{v4.d}}[0], [{to}], {pitch}",
            "st1 {{v4.d}}[1], [{to}], {pitch}",
            shift = in(reg) $shift,
            pitch = in(reg) $pitch,
            to = inout(reg) $to,
            rounder = in(vreg) $ends.0, lowest = in(vreg) $ends.1,
            a = inout(vreg) $one[0] => _, b = inout(vreg) $one[1] => _,
            c = inout(vreg) $two[0] => _, d = inout(vreg) $two[1] => _,
            low = in(vreg) $scale[0], high = in(vreg) $scale[1],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
            options(nostack, preserves_flags),
        )
    };
}

impl Dots for Sdot {
    type V = Several<2>;
    type Sums = [int32x4_t; 2];
    type Bytes = [int8x16_t; 2];
    const CHANNELS: usize = 16;
    const BLANK: u8 = super::SIGNED;
    const HELD: bool = false;
    #[inline(always)]
    unsafe fn start(from: *const i32) -> [int32x4_t; 2] {
        // SAFETY: see above.
        from_fn(|i| unsafe { vld1q_s32(from.add(4 * i)) })
    }
    /// In `asm` because 4 registers at a time are loaded where the compiler would copy each.
    #[inline(always)]
    unsafe fn starts(start: &[[int32x4_t; 2]; 2]) -> [[int32x4_t; 2]; COLUMNS] {
        let mut sums = [start[0]; COLUMNS];
        // SAFETY: see above.
        unsafe {
            asm!(
                "ld1 {{v16.4s-v19.4s}}, [{start}]",
                "ld1 {{v20.4s-v23.4s}}, [{start}]",
                "ld1 {{v24.4s-v27.4s}}, [{start}]",
                "ld1 {{v28.4s-v31.4s}}, [{start}]",
                start = in(reg) start.as_ptr(),
                out("v16") sums[0][0], out("v17") sums[0][1], out("v18") sums[1][0], out("v19") sums[1][1],
                out("v20") sums[2][0], out("v21") sums[2][1], out("v22") sums[3][0], out("v23") sums[3][1],
                out("v24") sums[4][0], out("v25") sums[4][1], out("v26") sums[5][0], out("v27") sums[5][1],
                out("v28") sums[6][0], out("v29") sums[6][1], out("v30") sums[7][0], out("v31") sums[7][1],
                options(readonly, nostack, preserves_flags),
            );
        }
        sums
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [int8x16_t; 2] {
        // SAFETY: see above.
        from_fn(|i| unsafe { vld1q_s8(from.cast::<i8>().add(16 * i)) })
    }
    #[inline(always)]
    unsafe fn dot(mut sums: [int32x4_t; 2], x: [int8x16_t; 2], w: [int8x16_t; 2]) -> [int32x4_t; 2] {
        for i in 0..2 {
            // SAFETY: see above. Through `asm` because the intrinsic is not stable; not `pure`, which would let products be
            // put off until there are no registers left for what they need.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                    inout(vreg) sums[i],
                    in(vreg) x[i],
                    in(vreg) w[i],
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn level(sums: [int32x4_t; 2], ends: [Several<2>; 2], to: *mut u8) {
        // SAFETY: see above.
        unsafe {
            let whole = |i: usize| shifted(sums[i], ends[0].0[i], ends[1].0[i]);
            vst1_s8(to.cast(), held(vcombine_s16(whole(0), whole(1))));
        }
    }
    #[expect(unused_assignments, reason = "nothing follows the last result")]
    #[inline(always)]
    unsafe fn tile(sums: [Self::Sums; COLUMNS], ends: &[Several<2>; 3], fitting: bool, to: *mut u8, pitch: usize) {
        let (scale, shift, mut to) = (ends[0].0, ends[1..].as_ptr(), to);
        // SAFETY: see above.
        unsafe {
            let ends = (vdupq_n_s32(ROUNDER.to_bits() as i32), vdupq_n_s8(super::SIGNED as i8));
            if fitting {
                unroll! { I in 0 2 4 6 => {
                    two_as_levels!(fitting, sums[I], sums[I + 1], scale, shift, ends, to, pitch);
                }}
            } else {
                unroll! { I in 0 2 4 6 => {
                    two_as_levels!(any, sums[I], sums[I + 1], scale, shift, ends, to, pitch);
                }}
            }
        }
    }
    #[inline(always)]
    unsafe fn lay(rows: [(*const u8, usize); 4], to: *mut u8, count: usize) {
        let [a, b, c, d] = rows;
        if count == 0 {
            return;
        }
        // SAFETY: see above. In `asm` because loads advance addresses by themselves.
        unsafe {
            asm!(
                "2:",
                "ld1 {{v0.16b}}, [{a}], {by_a}",
                "ld1 {{v1.16b}}, [{b}], {by_b}",
                "ld1 {{v2.16b}}, [{c}], {by_c}",
                "ld1 {{v3.16b}}, [{d}], {by_d}",
                "subs {count}, {count}, #1",
                "st4 {{v0.16b-v3.16b}}, [{to}], #64",
                "b.ne 2b",
                a = inout(reg) a.0 => _, b = inout(reg) b.0 => _, c = inout(reg) c.0 => _, d = inout(reg) d.0 => _,
                by_a = in(reg) a.1, by_b = in(reg) b.1, by_c = in(reg) c.1, by_d = in(reg) d.1,
                count = inout(reg) count => _,
                to = inout(reg) to => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                options(nostack),
            );
        }
    }
    #[inline(always)]
    unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: see above.
        unsafe { interleave_16(rows, to) }
    }
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
    unsafe fn level(sums: int32x4_t, ends: [float32x4_t; 2], to: *mut u8) {
        // SAFETY: see above.
        unsafe {
            let whole = shifted(sums, ends[0], ends[1]);
            let bytes = held(vcombine_s16(whole, whole));
            to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_s8(bytes)));
        }
    }
    #[inline(always)]
    unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: see above.
        unsafe { interleave_16(rows, to) }
    }
}

//! 128-bit registers of AArch64.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::{Lanes, ROUNDER};
use crate::kernels::levels::LIFT;

/// The same pointer, of which the compiler does not see what it is made of: each of several rows then has a register of its
/// own, which loads advance, where sums would else be made for each load.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "it only passes through")]
pub(in crate::kernels) fn apart<T>(mut pointer: *const T) -> *const T {
    // SAFETY: the text is a comment.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
    pointer
}

// SAFETY of every block below: AArch64 always has these instructions, and the caller promises the room behind pointers.

impl Lanes for float32x4_t {
    const COUNT: usize = 4;
    type One = super::Array<1, true>;
    type Two = Several<2>;
    type Four = Several<4>;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, self) }
    }
    #[inline(always)]
    fn kept(mut self) -> Self {
        // SAFETY: the text is a comment.
        unsafe { asm!("/* {0:v} */", inout(vreg) self, options(pure, nomem, nostack, preserves_flags)) };
        self
    }
    #[inline(always)]
    unsafe fn from_whole(from: *const i32) -> Self {
        // SAFETY: see above.
        unsafe { vcvtq_f32_s32(vld1q_s32(from)) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const i8) -> Self {
        // SAFETY: see above.
        unsafe {
            let four = vcreate_s8(u64::from(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(four))))
        }
    }
    #[inline(always)]
    unsafe fn fused(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, self, b) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vaddq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vmulq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn above(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(self, other), self, other) }
    }
    #[inline(always)]
    unsafe fn below(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcltq_f32(self, other), self, other) }
    }
    #[inline(always)]
    unsafe fn hold(self, high: Self) -> Self {
        // SAFETY: see above; of a quiet NaN and a number these take the number, and arithmetic makes no other NaN.
        unsafe { vminnmq_f32(vmaxnmq_f32(self, vdupq_n_f32(0.0)), high) }
    }
    #[inline(always)]
    unsafe fn magnitude(self, most: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let bits = vreinterpretq_u32_f32(vabsq_f32(self));
            vreinterpretq_f32_u32(vmaxq_u32(bits, vreinterpretq_u32_f32(most)))
        }
    }
    #[inline(always)]
    unsafe fn most(self) -> u32 {
        // SAFETY: see above.
        unsafe { vmaxvq_u32(vreinterpretq_u32_f32(self)) }
    }
    #[inline(always)]
    unsafe fn split(self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let rounder = vdupq_n_f32(ROUNDER);
            let rounded = vaddq_f32(self, rounder);
            let fraction = vsubq_f32(self, vsubq_f32(rounded, rounder));
            let bias = vdupq_n_s32(127i32.wrapping_sub(ROUNDER.to_bits() as i32));
            let power = vshlq_n_s32::<23>(vaddq_s32(vreinterpretq_s32_f32(rounded), bias));
            (vreinterpretq_f32_s32(power), fraction)
        }
    }
    #[inline(always)]
    unsafe fn signed_bytes(from: *const f32, factor: Self, zero: u8) -> [u8; 16] {
        // SAFETY: see above. Conversion makes 0 of NaN, and narrowing holds what is too large.
        unsafe {
            debug_assert_eq!(zero, 0);
            let float32x4x4_t(a, b, c, d) = vld1q_f32_x4(from);
            let [a, b, c, d] = [a, b, c, d].map(|x| vcvtnq_s32_f32(vmulq_f32(x, factor)));
            let [low, high] = [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)];
            let bytes = vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), vdupq_n_s8(-127));
            std::mem::transmute::<int8x16_t, [u8; 16]>(bytes)
        }
    }
    #[inline(always)]
    unsafe fn three_together(bytes: [[u8; 16]; 3]) -> [u8; 48] {
        let mut all = [0; 48];
        // SAFETY: see above.
        unsafe {
            let [a, b, c] = bytes.map(|kind| std::mem::transmute::<[u8; 16], uint8x16_t>(kind));
            vst3q_u8(all.as_mut_ptr(), uint8x16x3_t(a, b, c));
        }
        all
    }
    #[inline(always)]
    unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8) {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = rows.map(|row| vmovn_s32(vcvtnq_s32_f32(vmulq_f32(row, factor))));
            let ab = vmovn_s16(vcombine_s16(a, b));
            let cd = vmovn_s16(vcombine_s16(c, d));
            // a0..a3 b0..b3 and c0..c3 d0..d3 to a0 b0 c0 d0, a1 b1 c1 d1, ...
            let ab = vzip1_s8(ab, vext_s8::<4>(ab, ab));
            let cd = vzip1_s8(cd, vext_s8::<4>(cd, cd));
            let (ab, cd) = (vreinterpret_s16_s8(ab), vreinterpret_s16_s8(cd));
            let all = vcombine_s16(vzip1_s16(ab, cd), vzip2_s16(ab, cd));
            vst1q_s8(to, vreinterpretq_s8_s16(all));
        }
    }
    #[inline(always)]
    unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8) {
        // SAFETY: see above.
        unsafe {
            let whole = vmovn_s32(vcvtnq_s32_f32(vmulq_f32(self, factor)));
            let bytes = vmovn_s16(vcombine_s16(whole, whole));
            let four = vget_lane_u32::<0>(vreinterpret_u32_s8(vadd_s8(bytes, vdup_n_s8(offset as i8))));
            to.cast::<u32>().write_unaligned(four);
        }
    }
    #[inline(always)]
    unsafe fn levels(values: [Self; 4], blank: u8, to: *mut u8, stride: usize) {
        // SAFETY: see above.
        unsafe {
            debug_assert_eq!(blank, LOWEST as u8);
            let bytes = signed_levels(values);
            if stride == 4 {
                vst1q_s8(to.cast(), bytes);
                return;
            }
            let fours = vreinterpretq_u32_s8(bytes);
            to.cast::<u32>().write_unaligned(vgetq_lane_u32::<0>(fours));
            to.add(stride).cast::<u32>().write_unaligned(vgetq_lane_u32::<1>(fours));
            to.add(2 * stride).cast::<u32>().write_unaligned(vgetq_lane_u32::<2>(fours));
            to.add(3 * stride).cast::<u32>().write_unaligned(vgetq_lane_u32::<3>(fours));
        }
    }
}

/// The byte of level 0.
const LOWEST: i8 = -(LIFT as i8);

/// Values in steps as signed levels. Each step towards bytes holds what it cannot take, and NaN becomes 0 in the first; adding
/// 0..=255 to the byte of level 0 holds it below the level above the last.
#[inline(always)]
unsafe fn signed_levels(values: [float32x4_t; 4]) -> int8x16_t {
    // SAFETY: see above.
    unsafe {
        let [a, b, c, d] = values.map(|value| vcvtnq_s32_f32(value));
        let [low, high] = [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)];
        vuqaddq_s8(vdupq_n_s8(LOWEST), vqmovun_high_s16(vqmovun_s16(low), high))
    }
}

/// Several registers as one.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(in crate::kernels) struct Several<const N: usize>(pub(in crate::kernels) [float32x4_t; N]);

impl<const N: usize> Lanes for Several<N> {
    const COUNT: usize = 4 * N;
    type One = super::Array<1, true>;
    type Two = Self;
    type Four = Self;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Several([unsafe { vdupq_n_f32(value) }; N])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe {
            match N {
                // One instruction, which also advances the address.
                2 => {
                    let two = vld1q_f32_x2(from);
                    Several(from_fn(|i| if i == 0 { two.0 } else { two.1 }))
                }
                _ => Several(from_fn(|i| vld1q_f32(from.add(4 * i)))),
            }
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, register) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_f32(to.add(4 * i), register) };
        }
    }
    #[inline(always)]
    fn kept(self) -> Self {
        Several(from_fn(|i| self.0[i].kept()))
    }
    #[inline(always)]
    unsafe fn from_whole(from: *const i32) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { float32x4_t::from_whole(from.add(4 * i)) }))
    }
    #[inline(always)]
    unsafe fn widen(from: *const i8) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { float32x4_t::widen(from.add(4 * i)) }))
    }
    #[inline(always)]
    unsafe fn fused(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].fused(b.0[i], c.0[i]) }))
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].plus(other.0[i]) }))
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].times(other.0[i]) }))
    }
    #[inline(always)]
    unsafe fn above(self, other: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].above(other.0[i]) }))
    }
    #[inline(always)]
    unsafe fn below(self, other: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].below(other.0[i]) }))
    }
    #[inline(always)]
    unsafe fn hold(self, high: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].hold(high.0[i]) }))
    }
    #[inline(always)]
    unsafe fn magnitude(self, most: Self) -> Self {
        // SAFETY: see above.
        Several(from_fn(|i| unsafe { self.0[i].magnitude(most.0[i]) }))
    }
    #[inline(always)]
    unsafe fn most(self) -> u32 {
        // SAFETY: see above.
        unsafe {
            let bits = self.0.map(|register| vreinterpretq_u32_f32(register));
            vmaxvq_u32(bits.into_iter().fold(vdupq_n_u32(0), |most, bits| vmaxq_u32(most, bits)))
        }
    }
    #[inline(always)]
    unsafe fn split(self) -> (Self, Self) {
        // SAFETY: see above.
        let both: [_; N] = from_fn(|i| unsafe { self.0[i].split() });
        (Several(both.map(|(power, _)| power)), Several(both.map(|(_, fraction)| fraction)))
    }
    #[inline(always)]
    unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8) {
        for i in 0..N {
            // SAFETY: see above.
            unsafe { float32x4_t::interleave(rows.map(|row| row.0[i]), factor.0[i], to.add(16 * i)) };
        }
    }
    #[inline(always)]
    unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8) {
        // SAFETY: see above.
        unsafe {
            const { assert!(N == 2 || N == 4) };
            // The low halves of what 32 bits hold, then of what 16 do.
            let whole = |i: usize| vreinterpretq_s16_s32(vcvtnq_s32_f32(vmulq_f32(self.0[i % N], factor.0[i % N])));
            let low = vreinterpretq_u8_s16(vuzp1q_s16(whole(0), whole(1)));
            let high = vreinterpretq_u8_s16(vuzp1q_s16(whole(2), whole(3)));
            let bytes = vuzp1q_u8(low, high);
            let bytes = if offset == 0 { bytes } else { vaddq_u8(bytes, vdupq_n_u8(offset)) };
            if N == 4 { vst1q_u8(to, bytes) } else { vst1_u8(to, vget_low_u8(bytes)) }
        }
    }
    #[inline(always)]
    unsafe fn levels(values: [Self; 4], blank: u8, to: *mut u8, stride: usize) {
        debug_assert_eq!(blank, LOWEST as u8);
        // SAFETY: see above.
        unsafe {
            let pair = |a: Self, b: Self| signed_levels([a.0[0], a.0[1 % N], b.0[0], b.0[1 % N]]);
            match N {
                2 => {
                    for i in [0, 2] {
                        let both = pair(values[i], values[i + 1]);
                        vst1_s8(to.add(i * stride).cast(), vget_low_s8(both));
                        vst1_s8(to.add((i + 1) * stride).cast(), vget_high_s8(both));
                    }
                }
                _ => {
                    for (i, value) in values.into_iter().enumerate() {
                        vst1q_s8(to.add(i * stride).cast(), signed_levels(from_fn(|v| value.0[v % N])));
                    }
                }
            }
        }
    }
}

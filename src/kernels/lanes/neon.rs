//! 128-bit registers of AArch64.

use std::arch::aarch64::*;

use super::{Lanes, ROUNDER};

// SAFETY of every block below: AArch64 always has these instructions, and the caller promises the room behind pointers.

impl Lanes for float32x4_t {
    const COUNT: usize = 4;
    type One = super::Array<1, true>;
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
    unsafe fn magnitude(self, most: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let bits = vreinterpretq_u32_f32(vabsq_f32(self));
            vreinterpretq_f32_u32(vmaxq_u32(bits, vreinterpretq_u32_f32(most)))
        }
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
}

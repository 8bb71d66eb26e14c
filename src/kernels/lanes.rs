//! Floats side by side in a register: what the float loops are written in, once for every instruction set. Each lane is
//! computed alone and in the same order whatever the width, so results do not depend on it. Where the machine fuses
//! multiply and add, so do they; the plain x86-64 build does not, and may differ from the others in the last bits.

use super::quantise::ROUNDER;

/// A register of [`COUNT`](Lanes::COUNT) floats.
///
/// # Safety
/// Every method needs the instruction set of its type; pointers must be good for `COUNT` values.
pub(super) trait Lanes: Copy {
    const COUNT: usize;
    /// One float that is computed in the same way, for what is narrower than a register.
    type One: Lanes;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` floats, then zeros.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self {
        let mut all = [0f32; 16];
        // SAFETY: `from` is good for `count` floats, as the caller promises; a register has at most 16.
        unsafe {
            from.copy_to_nonoverlapping(all.as_mut_ptr(), count.min(Self::COUNT));
            Self::load(all.as_ptr())
        }
    }
    /// Stores the first `count` floats.
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        let mut all = [0f32; 16];
        // SAFETY: `to` is good for `count` floats, as the caller promises; a register has at most 16.
        unsafe {
            self.store(all.as_mut_ptr());
            to.copy_from_nonoverlapping(all.as_ptr(), count.min(Self::COUNT));
        }
    }
    /// Whole numbers as floats.
    unsafe fn from_whole(from: *const i32) -> Self;
    /// Bytes as floats.
    unsafe fn widen(from: *const i8) -> Self;
    /// `self * b + c`
    unsafe fn fused(self, b: Self, c: Self) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn times(self, other: Self) -> Self;
    /// `self` where it is larger, else `other`: NaN in `self` gives `other`.
    unsafe fn above(self, other: Self) -> Self;
    /// `self` where it is smaller, else `other`.
    unsafe fn below(self, other: Self) -> Self;
    /// The larger bit pattern of each magnitude in `self` and the bit pattern in `most`: NaN is above infinity.
    unsafe fn magnitude(self, most: Self) -> Self;
    /// The largest bit pattern.
    #[inline(always)]
    unsafe fn most(self) -> u32 {
        let mut all = [0f32; 16];
        // SAFETY: a register has at most 16 floats.
        unsafe { self.store(all.as_mut_ptr()) };
        all.iter().fold(0, |most, v| most.max(v.to_bits()))
    }
    /// 2 to the power of the nearest whole number, and what is left of the exponent; for values in `-126..=127`.
    unsafe fn split(self) -> (Self, Self);
    /// `round(self * factor) + offset` as bytes, ties to even; for results in `-127..=255` before the offset.
    unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8);
    /// `round(row * factor)` of 4 rows as bytes, those of a lane side by side: `4 * COUNT` bytes.
    unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8);
}

/// An array for machines without a kernel of their own, and for what is narrower than a register.
#[derive(Clone, Copy)]
pub(super) struct Array<const N: usize, const FUSED: bool>([f32; N]);

impl<const N: usize, const FUSED: bool> Lanes for Array<N, FUSED> {
    const COUNT: usize = N;
    type One = Array<1, FUSED>;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Array([value; N])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: `from` is good for N floats, as the caller promises.
        Array(unsafe { from.cast::<[f32; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: `to` is good for N floats, as the caller promises.
        unsafe { to.cast::<[f32; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn from_whole(from: *const i32) -> Self {
        // SAFETY: `from` is good for N numbers, as the caller promises.
        Array(unsafe { from.cast::<[i32; N]>().read_unaligned() }.map(|v| v as f32))
    }
    #[inline(always)]
    unsafe fn widen(from: *const i8) -> Self {
        // SAFETY: `from` is good for N bytes, as the caller promises.
        Array(unsafe { from.cast::<[i8; N]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn fused(self, b: Self, c: Self) -> Self {
        Array(std::array::from_fn(|i| super::vector::fused::<FUSED>(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Array(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        Array(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn above(self, other: Self) -> Self {
        Array(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn below(self, other: Self) -> Self {
        Array(std::array::from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn magnitude(self, most: Self) -> Self {
        Array(std::array::from_fn(|i| f32::from_bits(self.0[i].abs().to_bits().max(most.0[i].to_bits()))))
    }
    #[inline(always)]
    unsafe fn split(self) -> (Self, Self) {
        let rounded = self.0.map(|v| v + ROUNDER);
        let power = rounded.map(|v| {
            let whole = (v.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
            f32::from_bits((whole.wrapping_add(127) as u32) << 23)
        });
        (Array(power), Array(std::array::from_fn(|i| self.0[i] - (rounded[i] - ROUNDER))))
    }
    #[inline(always)]
    unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8) {
        for i in 0..N {
            for (k, row) in rows.iter().enumerate() {
                let whole = (row.0[i] * factor.0[i] + ROUNDER).to_bits() as i8;
                // SAFETY: `to` is good for 4 N bytes, as the caller promises.
                unsafe { to.add(i * 4 + k).write(whole) };
            }
        }
    }
    #[inline(always)]
    unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8) {
        let bytes: [u8; N] =
            std::array::from_fn(|i| ((self.0[i] * factor.0[i] + ROUNDER).to_bits() as u8).wrapping_add(offset));
        // SAFETY: `to` is good for N bytes, as the caller promises.
        unsafe { to.cast::<[u8; N]>().write_unaligned(bytes) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, ROUNDER};

    // SAFETY of every block below: the caller promises the instruction set and the room behind pointers.

    #[inline(always)]
    fn first_of_16(count: usize) -> u16 {
        if count >= 16 { u16::MAX } else { (1 << count) - 1 }
    }

    #[inline(always)]
    unsafe fn first_of_8(count: usize) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    impl Lanes for __m512 {
        const COUNT: usize = 16;
        type One = super::Array<1, true>;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> Self {
            // SAFETY: see above; lanes beyond `count` are not read.
            unsafe { _mm512_maskz_loadu_ps(first_of_16(count), from) }
        }
        #[inline(always)]
        unsafe fn store_some(self, to: *mut f32, count: usize) {
            // SAFETY: see above; lanes beyond `count` are not written.
            unsafe { _mm512_mask_storeu_ps(to, first_of_16(count), self) }
        }
        #[inline(always)]
        unsafe fn most(self) -> u32 {
            // SAFETY: see above.
            unsafe { _mm512_reduce_max_epu32(_mm512_castps_si512(self)) }
        }
        #[inline(always)]
        unsafe fn from_whole(from: *const i32) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn widen(from: *const i8) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
        }
        #[inline(always)]
        unsafe fn fused(self, b: Self, c: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn above(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_max_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn below(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_min_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn magnitude(self, most: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let bits = _mm512_castps_si512(_mm512_abs_ps(self));
                _mm512_castsi512_ps(_mm512_max_epu32(bits, _mm512_castps_si512(most)))
            }
        }
        #[inline(always)]
        unsafe fn split(self) -> (Self, Self) {
            // SAFETY: see above.
            unsafe {
                let rounder = _mm512_set1_ps(ROUNDER);
                let rounded = _mm512_add_ps(self, rounder);
                let fraction = _mm512_sub_ps(self, _mm512_sub_ps(rounded, rounder));
                let bias = _mm512_set1_epi32(127i32.wrapping_sub(ROUNDER.to_bits() as i32));
                let power = _mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_castps_si512(rounded), bias));
                (_mm512_castsi512_ps(power), fraction)
            }
        }
        #[inline(always)]
        unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8) {
            // SAFETY: see above.
            unsafe {
                let low = _mm512_set1_epi32(255);
                let [a, b, c, d] = rows.map(|row| _mm512_cvtps_epi32(_mm512_mul_ps(row, factor)));
                let ab = _mm512_or_si512(_mm512_and_si512(a, low), _mm512_slli_epi32::<8>(_mm512_and_si512(b, low)));
                let cd = _mm512_or_si512(_mm512_and_si512(c, low), _mm512_slli_epi32::<8>(d));
                let cd = _mm512_slli_epi32::<16>(cd);
                _mm512_storeu_si512(to.cast(), _mm512_or_si512(ab, cd));
            }
        }
        #[inline(always)]
        unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8) {
            // SAFETY: see above.
            unsafe {
                let whole = _mm512_cvtps_epi32(_mm512_mul_ps(self, factor));
                let bytes = _mm512_cvtepi32_epi8(whole);
                _mm_storeu_si128(to.cast(), _mm_add_epi8(bytes, _mm_set1_epi8(offset as i8)));
            }
        }
    }

    impl Lanes for __m256 {
        const COUNT: usize = 8;
        type One = super::Array<1, true>;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> Self {
            // SAFETY: see above; lanes beyond `count` are not read.
            unsafe { _mm256_maskload_ps(from, first_of_8(count)) }
        }
        #[inline(always)]
        unsafe fn store_some(self, to: *mut f32, count: usize) {
            // SAFETY: see above; lanes beyond `count` are not written.
            unsafe { _mm256_maskstore_ps(to, first_of_8(count), self) }
        }
        #[inline(always)]
        unsafe fn from_whole(from: *const i32) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) }
        }
        #[inline(always)]
        unsafe fn widen(from: *const i8) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
        }
        #[inline(always)]
        unsafe fn fused(self, b: Self, c: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn above(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_max_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn below(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_min_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn magnitude(self, most: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let bits = _mm256_and_si256(_mm256_castps_si256(self), _mm256_set1_epi32(i32::MAX));
                _mm256_castsi256_ps(_mm256_max_epu32(bits, _mm256_castps_si256(most)))
            }
        }
        #[inline(always)]
        unsafe fn split(self) -> (Self, Self) {
            // SAFETY: see above.
            unsafe {
                let rounder = _mm256_set1_ps(ROUNDER);
                let rounded = _mm256_add_ps(self, rounder);
                let fraction = _mm256_sub_ps(self, _mm256_sub_ps(rounded, rounder));
                let bias = _mm256_set1_epi32(127i32.wrapping_sub(ROUNDER.to_bits() as i32));
                let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_castps_si256(rounded), bias));
                (_mm256_castsi256_ps(power), fraction)
            }
        }
        #[inline(always)]
        unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8) {
            // SAFETY: see above.
            unsafe {
                let low = _mm256_set1_epi32(255);
                let [a, b, c, d] = rows.map(|row| _mm256_cvtps_epi32(_mm256_mul_ps(row, factor)));
                let ab = _mm256_or_si256(_mm256_and_si256(a, low), _mm256_slli_epi32::<8>(_mm256_and_si256(b, low)));
                let cd = _mm256_or_si256(_mm256_and_si256(c, low), _mm256_slli_epi32::<8>(d));
                let cd = _mm256_slli_epi32::<16>(cd);
                _mm256_storeu_si256(to.cast(), _mm256_or_si256(ab, cd));
            }
        }
        #[inline(always)]
        unsafe fn bytes(self, factor: Self, offset: u8, to: *mut u8) {
            // SAFETY: see above.
            unsafe {
                let whole = _mm256_cvtps_epi32(_mm256_mul_ps(self, factor));
                // The low byte alone, so that packing does not saturate.
                let whole = _mm256_and_si256(whole, _mm256_set1_epi32(255));
                let pairs = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
                let bytes = _mm_add_epi8(_mm_packus_epi16(pairs, pairs), _mm_set1_epi8(offset as i8));
                _mm_storel_epi64(to.cast(), bytes);
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
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
}

/// Compiles the `#[inline(always)]` unsafe function `$body::<V: Lanes>` for each instruction set and calls the right one.
macro_rules! multilanes {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(kernel: $crate::kernels::Kernel, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{__m256, __m512};
                use $crate::kernels::Set;
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn wide($($arg: $type),*) {
                    // SAFETY: the caller's promise; this function has the features.
                    unsafe { $body::<__m512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn half($($arg: $type),*) {
                    // SAFETY: the caller's promise; this function has the features.
                    unsafe { $body::<__m256>($($arg),*) }
                }
                match kernel.0 {
                    // SAFETY: a kernel of this set exists only where these features were detected.
                    Set::Avx512Vnni => return unsafe { wide($($arg),*) },
                    // SAFETY: a kernel of these sets exists only where these features were detected.
                    Set::AvxVnni | Set::Avx2 => return unsafe { half($($arg),*) },
                    Set::Plain => {}
                }
            }
            #[cfg(target_arch = "aarch64")]
            if kernel.0 != $crate::kernels::Set::Plain {
                // SAFETY: the caller's promise; AArch64 always has these instructions.
                return unsafe { $body::<std::arch::aarch64::float32x4_t>($($arg),*) };
            }
            let _ = kernel;
            // SAFETY: the caller's promise.
            unsafe { $body::<$crate::kernels::lanes::Array<4, { cfg!(target_arch = "aarch64") }>>($($arg),*) }
        }
    };
}
pub(super) use multilanes;

//! 512-bit and 256-bit registers of x86-64.

use std::arch::x86_64::*;

use super::{Dots, SIGNED};
use crate::kernels::levels::{LIFT, TOP_LEVEL};
use crate::kernels::quantise::ROUNDER;

// SAFETY of every block below: the caller promises the instruction set and the room behind pointers.
//
// No instruction is in a closure: where the compiler does not put that into its caller, it lacks the instruction set.

/// AVX-512 with VNNI: levels as they are.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct WideVnni;

/// AVX-VNNI: levels as they are.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct HalfVnni;

/// AVX2: signed levels, the weight's sign given to them as in the product of matrices.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Half;

#[inline(always)]
unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
    // SAFETY: see above.
    unsafe {
        let mut loaded = [_mm_setzero_si128(); 4];
        for (loaded, row) in loaded.iter_mut().zip(rows) {
            *loaded = _mm_loadu_si128(row.cast());
        }
        let [a, b, c, d] = loaded;
        let (ab, cd) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
        let (ef, gh) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
        let to = to.cast::<__m128i>();
        _mm_storeu_si128(to, _mm_unpacklo_epi16(ab, cd));
        _mm_storeu_si128(to.add(1), _mm_unpackhi_epi16(ab, cd));
        _mm_storeu_si128(to.add(2), _mm_unpacklo_epi16(ef, gh));
        _mm_storeu_si128(to.add(3), _mm_unpackhi_epi16(ef, gh));
    }
}

/// 32 channels. Unpacking works within halves of a register, so 4 bytes each are dealt out to them first.
#[inline(always)]
unsafe fn interleave_32(rows: [*const u8; 4], to: *mut u8) {
    // SAFETY: see above.
    unsafe {
        let deal = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
        let mut loaded = [_mm256_setzero_si256(); 4];
        for (loaded, row) in loaded.iter_mut().zip(rows) {
            *loaded = _mm256_permutevar8x32_epi32(_mm256_loadu_si256(row.cast()), deal);
        }
        let [a, b, c, d] = loaded;
        let (ab, cd) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
        let (ef, gh) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
        let to = to.cast::<__m256i>();
        _mm256_storeu_si256(to, _mm256_unpacklo_epi16(ab, cd));
        _mm256_storeu_si256(to.add(1), _mm256_unpackhi_epi16(ab, cd));
        _mm256_storeu_si256(to.add(2), _mm256_unpacklo_epi16(ef, gh));
        _mm256_storeu_si256(to.add(3), _mm256_unpackhi_epi16(ef, gh));
    }
}

impl Dots for WideVnni {
    type V = __m512;
    type Sums = __m512i;
    type Bytes = __m512i;
    const CHANNELS: usize = 64;
    const BLANK: u8 = 0;
    #[inline(always)]
    unsafe fn start(from: *const i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sums, x, w) }
    }
    #[inline(always)]
    unsafe fn level(sums: __m512i, ends: [__m512; 2], to: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(shifted_wide([sums; 4], ends))) }
    }
    #[inline(always)]
    unsafe fn levels<const N: usize>(sums: [__m512i; N], ends: [__m512; 2], to: *mut u8, pitch: usize) {
        for (i, some) in sums.chunks(4).enumerate() {
            // SAFETY: see above.
            unsafe {
                let last = some.len() - 1;
                let four = [some[0], some[1.min(last)], some[2.min(last)], some[last]];
                let parts = quarters(shifted_wide(four, ends));
                for (j, part) in parts.into_iter().take(some.len()).enumerate() {
                    _mm_storeu_si128(to.add((4 * i + j) * pitch).cast(), part);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn interleave(rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: see above. 4 bytes each are dealt out to the quarters, within which unpacking works.
        unsafe {
            let mut loaded = [_mm512_setzero_si512(); 4];
            for (loaded, row) in loaded.iter_mut().zip(rows) {
                *loaded = dealt(_mm512_loadu_si512(row.cast()));
            }
            let [a, b, c, d] = loaded;
            let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let (ef, gh) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            let to = to.cast::<__m512i>();
            _mm512_storeu_si512(to, _mm512_unpacklo_epi16(ab, cd));
            _mm512_storeu_si512(to.add(1), _mm512_unpackhi_epi16(ab, cd));
            _mm512_storeu_si512(to.add(2), _mm512_unpacklo_epi16(ef, gh));
            _mm512_storeu_si512(to.add(3), _mm512_unpackhi_epi16(ef, gh));
        }
    }
    #[inline(always)]
    unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: see above.
        unsafe { interleave_16(rows, to) }
    }
}

/// `sums * ends[0] + ends[1]` of four registers as levels, one after another.
#[inline(always)]
pub(in crate::kernels) unsafe fn four_levels(sums: [__m256i; 4], ends: [[__m256; 2]; 4], blank: u8) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let mut values = [_mm256_setzero_ps(); 4];
        for (i, value) in values.iter_mut().enumerate() {
            *value = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[i]), ends[i][0], ends[i][1]);
        }
        levels_of(values, blank)
    }
}

/// Values in steps as levels. Packing holds values at 0 from below; the level above is held before, where NaN is let through,
/// which becomes less than any number.
#[inline(always)]
pub(in crate::kernels) unsafe fn levels_of(values: [__m256; 4], blank: u8) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let top = _mm256_set1_ps(TOP_LEVEL);
        let mut whole = [_mm256_setzero_si256(); 4];
        for (whole, y) in whole.iter_mut().zip(values) {
            *whole = _mm256_cvtps_epi32(_mm256_min_ps(top, y));
        }
        let [a, b, c, d] = whole;
        let bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_add_epi8(bytes, _mm256_set1_epi8(blank as i8))
    }
}

/// The same of wider registers, whose levels are as they are.
#[inline(always)]
pub(in crate::kernels) unsafe fn four_wide_levels(sums: [__m512i; 4], ends: [[__m512; 2]; 4]) -> __m512i {
    // SAFETY: see above.
    unsafe {
        let mut values = [_mm512_setzero_ps(); 4];
        for (i, value) in values.iter_mut().enumerate() {
            *value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), ends[i][0], ends[i][1]);
        }
        wide_levels_of(values)
    }
}

/// The same of wider registers.
#[inline(always)]
pub(in crate::kernels) unsafe fn wide_levels_of(values: [__m512; 4]) -> __m512i {
    // SAFETY: see above.
    unsafe {
        let top = _mm512_set1_ps(TOP_LEVEL);
        let mut whole = [_mm512_setzero_si512(); 4];
        for (whole, y) in whole.iter_mut().zip(values) {
            *whole = _mm512_cvtps_epi32(_mm512_min_ps(top, y));
        }
        let [a, b, c, d] = whole;
        dealt(_mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)))
    }
}

/// Four registers of sums as levels by their scales and shifts (see [`Shift`](crate::kernels::levels::Shift)), one after
/// another. Packing holds what is far away.
#[inline(always)]
unsafe fn shifted(sums: [__m256i; 4], ends: [__m256; 2], blank: u8) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let rounder = _mm256_set1_epi32(ROUNDER.to_bits() as i32);
        let mut whole = [_mm256_setzero_si256(); 4];
        for (whole, sum) in whole.iter_mut().zip(sums) {
            let y = _mm256_fmadd_ps(_mm256_castsi256_ps(sum), ends[0], ends[1]);
            *whole = _mm256_sub_epi32(_mm256_castps_si256(y), rounder);
        }
        let [a, b, c, d] = whole;
        let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8(SIGNED as i8));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_add_epi8(bytes, _mm256_set1_epi8(blank.wrapping_add(LIFT as u8) as i8))
    }
}

/// The same of wider registers, whose levels are as they are.
#[inline(always)]
unsafe fn shifted_wide(sums: [__m512i; 4], ends: [__m512; 2]) -> __m512i {
    // SAFETY: see above.
    unsafe {
        let rounder = _mm512_set1_epi32(ROUNDER.to_bits() as i32);
        let mut whole = [_mm512_setzero_si512(); 4];
        for (whole, sum) in whole.iter_mut().zip(sums) {
            let y = _mm512_fmadd_ps(_mm512_castsi512_ps(sum), ends[0], ends[1]);
            *whole = _mm512_sub_epi32(_mm512_castps_si512(y), rounder);
        }
        let [a, b, c, d] = whole;
        let bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        let bytes = _mm512_max_epi8(bytes, _mm512_set1_epi8(SIGNED as i8));
        dealt(_mm512_add_epi8(bytes, _mm512_set1_epi8(LIFT as i8)))
    }
}

#[inline(always)]
pub(in crate::kernels) unsafe fn quarters(bytes: __m512i) -> [__m128i; 4] {
    // SAFETY: see above.
    unsafe {
        [
            _mm512_castsi512_si128(bytes),
            _mm512_extracti32x4_epi32::<1>(bytes),
            _mm512_extracti32x4_epi32::<2>(bytes),
            _mm512_extracti32x4_epi32::<3>(bytes),
        ]
    }
}

/// The same of a shorter register, in the lower halves.
#[inline(always)]
pub(in crate::kernels) unsafe fn short_quarters(bytes: __m256i) -> [__m128i; 4] {
    // SAFETY: see above.
    unsafe {
        let (ab, cd) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        [ab, _mm_unpackhi_epi64(ab, ab), cd, _mm_unpackhi_epi64(cd, cd)]
    }
}

/// The `j`th 4 bytes of quarter `i` as the `i`th of quarter `j`.
#[inline(always)]
unsafe fn dealt(bytes: __m512i) -> __m512i {
    // SAFETY: see above.
    unsafe { _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes) }
}

macro_rules! half {
    ($name:ident, $dot:expr, $blank:expr) => {
        impl Dots for $name {
            type V = __m256;
            type Sums = __m256i;
            type Bytes = __m256i;
            const CHANNELS: usize = 32;
            const BLANK: u8 = $blank;
            #[inline(always)]
            unsafe fn start(from: *const i32) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> __m256i {
                // SAFETY: see above.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }
            #[inline(always)]
            unsafe fn dot(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
                // SAFETY: see above.
                unsafe { $dot(sums, x, w) }
            }
            #[inline(always)]
            unsafe fn level(sums: __m256i, ends: [__m256; 2], to: *mut u8) {
                // SAFETY: see above.
                unsafe {
                    let bytes = shifted([sums; 4], ends, Self::BLANK);
                    _mm_storel_epi64(to.cast(), _mm256_castsi256_si128(bytes));
                }
            }
            #[inline(always)]
            unsafe fn interleave(rows: [*const u8; 4], to: *mut u8) {
                // SAFETY: see above.
                unsafe { interleave_32(rows, to) }
            }
            #[inline(always)]
            unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
                // SAFETY: see above.
                unsafe { interleave_16(rows, to) }
            }
            #[inline(always)]
            unsafe fn levels<const N: usize>(sums: [__m256i; N], ends: [__m256; 2], to: *mut u8, pitch: usize) {
                for (i, some) in sums.chunks(4).enumerate() {
                    // SAFETY: see above.
                    unsafe {
                        let last = some.len() - 1;
                        let four = [some[0], some[1.min(last)], some[2.min(last)], some[last]];
                        let parts = short_quarters(shifted(four, ends, Self::BLANK));
                        for (j, part) in parts.into_iter().take(some.len()).enumerate() {
                            _mm_storel_epi64(to.add((4 * i + j) * pitch).cast(), part);
                        }
                    }
                }
            }
        }
    };
}

half!(HalfVnni, _mm256_dpbusd_avx_epi32, 0);
half!(Half, crate::kernels::avx2::dot, SIGNED);

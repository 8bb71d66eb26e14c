//! 512-bit and 256-bit registers of x86-64.

use std::arch::x86_64::*;

use super::{Lanes, ROUNDER};
use crate::kernels::dots;

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

/// Byte `i` of register `part` comes from place `(16 part + i) / 3`, of the three kinds in turn.
#[inline(always)]
unsafe fn three_together(bytes: [[u8; 16]; 3]) -> [u8; 48] {
    const fn places(part: usize, kind: usize) -> [u8; 16] {
        let (mut places, mut i) = ([128; 16], 0);
        while i < 16 {
            if (16 * part + i) % 3 == kind {
                places[i] = ((16 * part + i) / 3) as u8;
            }
            i += 1;
        }
        places
    }
    const PLACES: [[[u8; 16]; 3]; 3] = [
        [places(0, 0), places(0, 1), places(0, 2)],
        [places(1, 0), places(1, 1), places(1, 2)],
        [places(2, 0), places(2, 1), places(2, 2)],
    ];
    let mut all = [0; 48];
    // SAFETY: see above.
    unsafe {
        for (places, to) in PLACES.iter().zip(all.as_chunks_mut::<16>().0) {
            let mut mixed = _mm_setzero_si128();
            for (kind, places) in bytes.iter().zip(places) {
                let places = _mm_loadu_si128(places.as_ptr().cast());
                let bytes = _mm_loadu_si128(kind.as_ptr().cast());
                mixed = _mm_or_si128(mixed, _mm_shuffle_epi8(bytes, places));
            }
            _mm_storeu_si128(to.as_mut_ptr().cast(), mixed);
        }
    }
    all
}

impl Lanes for __m512 {
    const COUNT: usize = 16;
    type One = super::Array<1, true>;
    type Two = Self;
    type Four = Self;
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
            let mut whole = [_mm512_setzero_si512(); 4];
            for (whole, row) in whole.iter_mut().zip(rows) {
                *whole = _mm512_cvtps_epi32(_mm512_mul_ps(row, factor));
            }
            let [a, b, c, d] = whole;
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
    #[inline(always)]
    unsafe fn three_together(bytes: [[u8; 16]; 3]) -> [u8; 48] {
        // SAFETY: see above.
        unsafe { three_together(bytes) }
    }
    #[inline(always)]
    unsafe fn levels(values: [Self; 4], blank: u8, to: *mut u8, stride: usize) {
        // SAFETY: see above.
        unsafe {
            let bytes = _mm512_add_epi8(dots::wide_levels_of(values), _mm512_set1_epi8(blank as i8));
            for (i, part) in dots::quarters(bytes).into_iter().enumerate() {
                _mm_storeu_si128(to.add(i * stride).cast(), part);
            }
        }
    }
}

impl Lanes for __m256 {
    const COUNT: usize = 8;
    type One = super::Array<1, true>;
    type Two = Self;
    type Four = Self;
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
            let mut whole = [_mm256_setzero_si256(); 4];
            for (whole, row) in whole.iter_mut().zip(rows) {
                *whole = _mm256_cvtps_epi32(_mm256_mul_ps(row, factor));
            }
            let [a, b, c, d] = whole;
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
    #[inline(always)]
    unsafe fn three_together(bytes: [[u8; 16]; 3]) -> [u8; 48] {
        // SAFETY: see above.
        unsafe { three_together(bytes) }
    }
    #[inline(always)]
    unsafe fn levels(values: [Self; 4], blank: u8, to: *mut u8, stride: usize) {
        // SAFETY: see above.
        unsafe {
            for (i, part) in dots::short_quarters(dots::levels_of(values, blank)).into_iter().enumerate() {
                _mm_storel_epi64(to.add(i * stride).cast(), part);
            }
        }
    }
}

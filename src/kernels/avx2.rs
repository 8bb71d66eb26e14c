//! AVX2 without VNNI. `vpmaddubsw` wants one unsigned side and saturates at 16 bits: the weight's magnitude is the unsigned
//! side (128 fits) and its sign goes to the activation, at most 127, so a pair sums to 32512 at most.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::dots::four_levels;
use super::ending::Ending;
use super::{PANEL, Tile, pack::GROUP, ymm::ymm_kernel};

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn dot(sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

ymm_kernel!("avx2,fma", 4, dot);

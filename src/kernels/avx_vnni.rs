//! AVX-VNNI: `vpdpbusd` in 256-bit registers, for machines without AVX-512. Activations carry an offset of 128.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::dots::four_levels;
use super::ending::Ending;
use super::{PANEL, Tile, pack::GROUP, ymm::ymm_kernel};

ymm_kernel!("avx2,fma,avxvnni", 6, _mm256_dpbusd_avx_epi32);

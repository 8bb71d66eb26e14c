//! What one core can do in int8 when nothing leaves the registers: multiply-adds a second of each instruction that the
//! kernels are made of.
//!
//! Behind the line protocol a kernel's name stands for the role, `registers` for the model and a number of multiply-adds for
//! the input: a run does as many, in turns with the engines, so that its share is a ratio of medians of the same moments.

use std::hint::black_box;
use std::time::Instant;

use crate::serve::{Fallible, Loaded, Order};

/// Independent sums, more than latency times issue width.
const SUMS: usize = 12;
const ROUNDS: usize = 200_000;

/// One line an instruction that this machine has: its name, and 10^9 multiply-adds a second, the best of all tries within
/// `seconds`.
pub fn print(seconds: f64) -> Fallible<()> {
    let kinds = kinds();
    let mut best = vec![0f64; kinds.len()];
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds || best.contains(&0.0) {
        for (best, (_, multiply_adds, run)) in best.iter_mut().zip(&kinds) {
            let begin = Instant::now();
            black_box(run(black_box(0x0102_0301), ROUNDS));
            let rate = (SUMS * ROUNDS * multiply_adds) as f64 / begin.elapsed().as_secs_f64();
            *best = best.max(rate);
        }
    }
    for (best, (name, ..)) in best.iter().zip(&kinds) {
        println!("{name} {:.2}", best / 1e9);
    }
    Ok(())
}

/// Name, multiply-adds in one step of one sum, and the loop of so many rounds.
type Kind = (&'static str, usize, fn(i32, usize) -> i32);

/// See the module.
pub fn load(order: &Order) -> Fallible<Box<dyn Loaded>> {
    let kind = kinds().into_iter().find(|kind| kind.0 == order.role);
    let (_, multiply_adds, run) = kind.ok_or_else(|| format!("no micro-benchmark for {}", order.role))?;
    let wanted: usize = order.input(0)?.parse()?;
    Ok(Box::new(Registers { rounds: wanted.div_ceil(SUMS * multiply_adds), run }))
}

struct Registers {
    rounds: usize,
    run: fn(i32, usize) -> i32,
}

impl Loaded for Registers {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        Ok(vec![black_box((self.run)(black_box(0x0102_0301), self.rounds)) as f32])
    }
}

#[cfg(target_arch = "x86_64")]
fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has the instructions.
        kinds.push(("avx512-vnni", 64, |seed, rounds| unsafe { x86::zmm(seed, rounds) }));
    }
    if is_x86_feature_detected!("avxvnni") {
        // SAFETY: as above.
        kinds.push(("avx-vnni", 32, |seed, rounds| unsafe { x86::ymm(seed, rounds) }));
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        kinds.push(("avx2", 32, |seed, rounds| unsafe { x86::avx2(seed, rounds) }));
    }
    kinds
}

#[cfg(not(target_arch = "x86_64"))]
fn kinds() -> Vec<Kind> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::SUMS;

    // In assembly, because the compiler would see that all products are the same.

    /// `vpdpbusd` on 512 bits.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn zmm(seed: i32, rounds: usize) -> i32 {
        let (a, b) = (_mm512_set1_epi32(seed), _mm512_set1_epi32(seed ^ 0x0101));
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: one instruction on registers.
                unsafe {
                    asm!("vpdpbusd {sum}, {a}, {b}", a = in(zmm_reg) a, b = in(zmm_reg) b, sum = inout(zmm_reg) *sum,
                        options(nomem, nostack, preserves_flags));
                }
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
    }

    /// `vpdpbusd` on 256 bits.
    #[target_feature(enable = "avx2,avxvnni")]
    pub fn ymm(seed: i32, rounds: usize) -> i32 {
        let (a, b) = (_mm256_set1_epi32(seed), _mm256_set1_epi32(seed ^ 0x0101));
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: one instruction on registers.
                unsafe {
                    asm!("{{vex}} vpdpbusd {sum}, {a}, {b}", a = in(ymm_reg) a, b = in(ymm_reg) b, sum = inout(ymm_reg) *sum,
                        options(nomem, nostack, preserves_flags));
                }
            }
        }
        total(sums)
    }

    /// `pmaddubsw`, `pmaddwd` and an addition, which take the place of `vpdpbusd`.
    #[target_feature(enable = "avx2")]
    pub fn avx2(seed: i32, rounds: usize) -> i32 {
        let (a, b, ones) = (_mm256_set1_epi32(seed), _mm256_set1_epi32(seed ^ 0x0101), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: three instructions on registers.
                unsafe {
                    asm!("vpmaddubsw {pairs}, {a}, {b}", "vpmaddwd {pairs}, {pairs}, {ones}", "vpaddd {sum}, {sum}, {pairs}",
                        pairs = out(ymm_reg) _, a = in(ymm_reg) a, b = in(ymm_reg) b, ones = in(ymm_reg) ones,
                        sum = inout(ymm_reg) *sum, options(nomem, nostack, preserves_flags));
                }
            }
        }
        total(sums)
    }

    #[target_feature(enable = "avx2")]
    fn total(sums: [__m256i; SUMS]) -> i32 {
        let mut lanes = [0i32; 8];
        // SAFETY: `lanes` has room for the 32 bytes; the store needs no alignment.
        let mut one = |sum| unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum);
            lanes.iter().fold(0, |a: i32, b| a.wrapping_add(*b))
        };
        sums.into_iter().map(&mut one).fold(0, i32::wrapping_add)
    }
}

//! Softmax to bytes: the weights by which attention mixes values.

use super::Kernel;
use super::lanes::{Lanes, multilanes};

/// The softmax of `logits` as bytes up to `most`; returns the scale that makes them sum to 1. NaN has no weight, an
/// infinite logit that of the largest finite float.
///
/// # Panics
/// When there are not as many bytes as logits.
pub fn softmax_to_bytes(kernel: Kernel, logits: &[f32], most: f32, bytes: &mut [u8]) -> f32 {
    assert_eq!(logits.len(), bytes.len(), "a byte for each logit");
    let mut scale = 0.0;
    // SAFETY: the lengths are equal, and `kernel` proves that the machine has the instructions.
    unsafe { softmax(kernel, logits, most, bytes, &mut scale) };
    scale
}

/// `e^x` for `x <= 0`; NaN and everything below -87 give about 1e-38.
#[inline(always)]
unsafe fn exp<V: Lanes>(x: V) -> V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let t = x.times(V::splat(std::f32::consts::LOG2_E)).above(V::splat(-126.0));
        let (power, fraction) = t.split();
        let mut p = V::splat(1.339_887_4e-3);
        for c in [9.618_437e-3, 5.550_332_5e-2, 2.402_264_7e-1, 6.931_472e-1, 1.0] {
            p = p.fused(fraction, V::splat(c));
        }
        power.times(p)
    }
}

/// Registers over all `count` values: the last one overlaps the one before it.
#[inline(always)]
fn places<V: Lanes>(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(V::COUNT).map(move |at| at.min(count - V::COUNT))
}

#[inline(always)]
unsafe fn weigh<V: Lanes>(logits: &[f32], largest: f32, most: f32, bytes: &mut [u8]) {
    // SAFETY: `places` stays inside `logits`, and `bytes` is as long; the caller has the instruction set.
    unsafe {
        let (down, most, ceiling) = (V::splat(-largest), V::splat(most), V::splat(f32::MAX));
        for at in places::<V>(logits.len()) {
            // In this order NaN stays NaN and infinity becomes the largest float.
            let x = ceiling.below(V::load(logits.as_ptr().add(at)));
            exp(x.plus(down)).bytes(most, 0, bytes.as_mut_ptr().add(at));
        }
    }
}

#[inline(always)]
unsafe fn body<V: Lanes>(logits: &[f32], most: f32, bytes: &mut [u8], scale: &mut f32) {
    // SAFETY: `places` stays inside `logits`; the caller has the instruction set.
    unsafe {
        let mut tops = [f32::MIN; 16];
        if logits.len() >= V::COUNT {
            let mut top = V::splat(f32::MIN);
            for at in places::<V>(logits.len()) {
                top = V::load(logits.as_ptr().add(at)).above(top);
            }
            top.store(tops.as_mut_ptr());
        } else {
            for (top, v) in tops.iter_mut().zip(logits) {
                *top = if *v > *top { *v } else { *top };
            }
        }
        let largest = tops.iter().fold(f32::MIN, |a, v| if *v > a { *v } else { a }).min(f32::MAX);
        if logits.len() >= V::COUNT {
            weigh::<V>(logits, largest, most, bytes);
        } else {
            weigh::<V::One>(logits, largest, most, bytes);
        }
    }
    let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
    *scale = if sum > 0 { 1.0 / sum as f32 } else { 0.0 };
}

multilanes! {
    unsafe fn softmax(logits: &[f32], most: f32, bytes: &mut [u8], scale: &mut f32) = body
}

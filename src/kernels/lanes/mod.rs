//! Floats side by side in a register: what the float loops are written in, once for every instruction set. Each lane is
//! computed alone and in the same order whatever the width, so results do not depend on it. Where the machine fuses
//! multiply and add, so do they; the plain x86-64 build does not, and may differ from the others in the last bits.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use neon::{Several, apart};

use super::levels::TOP_LEVEL;
use super::quantise::ROUNDER;

/// A register of [`COUNT`](Lanes::COUNT) floats.
///
/// # Safety
/// Every method needs the instruction set of its type; pointers must be good for `COUNT` values.
pub(in crate::kernels) trait Lanes: Copy {
    const COUNT: usize;
    /// One float that is computed in the same way, for what is narrower than a register.
    type One: Lanes;
    /// Two registers where they are short, so that fewer loads and stores do more; else this one.
    type Two: Lanes;
    /// Four registers where they are short; else this one.
    type Four: Lanes;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The same value, which from here on stays in a register where the compiler might load it again and again.
    #[inline(always)]
    fn kept(self) -> Self {
        self
    }
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
    /// The value held in `0..=high`, NaN at 0; `high` is not NaN.
    #[inline(always)]
    unsafe fn hold(self, high: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.above(Self::splat(0.0)).below(high) }
    }
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
    /// Values in steps as levels plus `blank`, value `i` to `to + i * stride`: held in `0..=254`, ties to even, NaN at 0.
    #[inline(always)]
    unsafe fn levels(values: [Self; 4], blank: u8, to: *mut u8, stride: usize) {
        for (i, value) in values.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { value.hold(Self::splat(TOP_LEVEL)).bytes(Self::splat(1.0), blank, to.add(i * stride)) };
        }
    }
    /// `round(x * factor)` of 16 floats, held in `-127..=127`, plus `zero`; NaN as 0.
    #[inline(always)]
    unsafe fn signed_bytes(from: *const f32, factor: Self, zero: u8) -> [u8; 16] {
        let mut bytes = [0; 16];
        for at in (0..16).step_by(Self::COUNT) {
            // SAFETY: the caller's promise.
            unsafe {
                let y = Self::load(from.add(at)).times(factor);
                // Each part is 0 where the value is not a number.
                let above = y.above(Self::splat(0.0)).below(Self::splat(127.0));
                let below = y.below(Self::splat(0.0)).above(Self::splat(-127.0));
                above.plus(below).bytes(Self::splat(1.0), zero, bytes.as_mut_ptr().add(at));
            }
        }
        bytes
    }
    /// Bytes of three kinds in turn.
    #[inline(always)]
    unsafe fn three_together(bytes: [[u8; 16]; 3]) -> [u8; 48] {
        std::array::from_fn(|i| bytes[i % 3][i / 3])
    }
    /// `round(row * factor)` of 4 rows as bytes, those of a lane side by side: `4 * COUNT` bytes.
    unsafe fn interleave(rows: [Self; 4], factor: Self, to: *mut i8);
}

/// An array for machines without a kernel of their own, and for what is narrower than a register.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Array<const N: usize, const FUSED: bool>([f32; N]);

impl<const N: usize, const FUSED: bool> Lanes for Array<N, FUSED> {
    const COUNT: usize = N;
    type One = Array<1, FUSED>;
    type Two = Self;
    type Four = Self;
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
        Array(std::array::from_fn(|i| crate::kernels::vector::fused::<FUSED>(self.0[i], b.0[i], c.0[i])))
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

/// Compiles the `#[inline(always)]` unsafe function `$body::<V: Lanes>`, or `$body::<V: Lanes, $kind>`, for each instruction set
/// and calls the right one.
macro_rules! multilanes {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident $(, $kind:ty)?) => {
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
                    unsafe { $body::<__m512 $(, $kind)?>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn half($($arg: $type),*) {
                    // SAFETY: the caller's promise; this function has the features.
                    unsafe { $body::<__m256 $(, $kind)?>($($arg),*) }
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
                return unsafe { $body::<std::arch::aarch64::float32x4_t $(, $kind)?>($($arg),*) };
            }
            let _ = kernel;
            // SAFETY: the caller's promise.
            unsafe { $body::<$crate::kernels::lanes::Array<4, { cfg!(target_arch = "aarch64") }> $(, $kind)?>($($arg),*) }
        }
    };
}
pub(in crate::kernels) use multilanes;

/// The block once for each number, with it as a constant.
macro_rules! unroll {
    ($i:ident in $($number:literal)* => $block:block) => { $( { const $i: usize = $number; $block } )* };
}
pub(in crate::kernels) use unroll;

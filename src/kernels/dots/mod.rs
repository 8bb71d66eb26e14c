//! Products of four bytes a lane: what the depthwise convolution of levels is written in, once for every instruction set.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use neon::{Mull, Sdot};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{
    Half, HalfVnni, WideVnni, four_levels, four_wide_levels, levels_of, quarters, short_quarters, wide_levels_of,
};

use super::depthwise_levels::COLUMNS;
use super::lanes::{Array, Lanes};
use super::levels::{LIFT, Shift};

/// [`Dots::BLANK`] of signed levels.
const SIGNED: u8 = (-LIFT) as u8;

/// Sums of whole numbers, one for each lane of `V`.
///
/// # Safety
/// Every method needs the instruction set of its type; pointers must be good for what is read and written.
pub(super) trait Dots: Copy {
    /// The floats that sums become.
    type V: Lanes;
    type Sums: Copy;
    /// Four bytes for each lane.
    type Bytes: Copy;
    /// Channels that are interleaved at a time, a multiple of 16.
    const CHANNELS: usize;
    /// The byte of level 0; where it is not 0, levels are signed.
    const BLANK: u8;
    /// Whether the taps of a kernel stay in registers; else they are read again for each tile.
    const HELD: bool = true;
    unsafe fn start(from: *const i32) -> Self::Sums;
    /// The same start, of which there are two, for several results.
    #[inline(always)]
    unsafe fn starts(start: &[Self::Sums; 2]) -> [Self::Sums; COLUMNS] {
        [start[0]; COLUMNS]
    }
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    /// `sums + x[0] w[0] + x[1] w[1] + x[2] w[2] + x[3] w[3]` in each lane.
    unsafe fn dot(sums: Self::Sums, x: Self::Bytes, w: Self::Bytes) -> Self::Sums;
    /// Sums as levels by their scales and shifts: see [`Shift`].
    unsafe fn level(sums: Self::Sums, ends: [Self::V; 2], to: *mut u8);
    /// The same of several results, each `pitch` bytes after the one before.
    #[inline(always)]
    unsafe fn levels<const N: usize>(sums: [Self::Sums; N], ends: [Self::V; 2], to: *mut u8, pitch: usize) {
        for (i, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { Self::level(sums, ends, to.add(i * pitch)) };
        }
    }
    /// [`Dots::levels`] of whole tiles: `ends[0]` and twice `ends[1]`. `_fitting` says whether all results are sure to fit 16
    /// bits.
    #[inline(always)]
    unsafe fn tile(sums: [Self::Sums; COLUMNS], ends: &[Self::V; 3], _fitting: bool, to: *mut u8, pitch: usize) {
        // SAFETY: the caller's promise.
        unsafe { Self::levels(sums, [ends[0], ends[1]], to, pitch) };
    }
    /// [`Dots::interleave`] for `count` columns, rows of which have these pitches.
    #[inline(always)]
    unsafe fn lay(rows: [(*const u8, usize); 4], to: *mut u8, count: usize) {
        for column in 0..count {
            // SAFETY: the caller's promise.
            unsafe {
                let at = rows.map(|(from, pitch)| from.add(column * pitch));
                Self::interleave(at, to.add(column * Self::CHANNELS * 4));
            }
        }
    }
    /// Four rows of `CHANNELS` bytes, those of a channel side by side. For more than 16 it has to be written.
    #[inline(always)]
    unsafe fn interleave(rows: [*const u8; 4], to: *mut u8) {
        const { assert!(Self::CHANNELS == 16) };
        // SAFETY: the caller's promise.
        unsafe { Self::interleave_16(rows, to) }
    }
    /// The same for 16 channels.
    unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8);
}

/// The reference, for any machine: signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Dots for Plain {
    type V = Array<4, true>;
    type Sums = [i32; 4];
    type Bytes = [i8; 16];
    const CHANNELS: usize = 16;
    const BLANK: u8 = SIGNED;
    #[inline(always)]
    unsafe fn start(from: *const i32) -> [i32; 4] {
        // SAFETY: `from` is good for 4 numbers, as the caller promises.
        unsafe { from.cast::<[i32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [i8; 16] {
        // SAFETY: `from` is good for 16 bytes, as the caller promises.
        unsafe { from.cast::<[i8; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(sums: [i32; 4], x: [i8; 16], w: [i8; 16]) -> [i32; 4] {
        let product = |i: usize| i32::from(x[i]) * i32::from(w[i]);
        std::array::from_fn(|i| sums[i] + (4 * i..4 * i + 4).map(product).sum::<i32>())
    }
    #[inline(always)]
    unsafe fn level(sums: [i32; 4], ends: [Self::V; 2], to: *mut u8) {
        let mut of = [[0f32; 4]; 2];
        // SAFETY: there are 4 of each, and `to` is good for 4 bytes, as the caller promises.
        unsafe {
            ends.into_iter().zip(&mut of).for_each(|(end, of)| end.store(of.as_mut_ptr()));
            let bytes = std::array::from_fn(|i| Shift::byte(sums[i], of[0][i], of[1][i]) as u8);
            to.cast::<[u8; 4]>().write_unaligned(bytes);
        }
    }
    #[inline(always)]
    unsafe fn interleave_16(rows: [*const u8; 4], to: *mut u8) {
        for channel in 0..16 {
            for (i, row) in rows.iter().enumerate() {
                // SAFETY: rows are good for 16 bytes and `to` for 64, as the caller promises.
                unsafe { to.add(channel * 4 + i).write(*row.add(channel)) };
            }
        }
    }
}

/// Compiles the `#[inline(always)]` unsafe function `$body::<D: Dots>` for each instruction set and calls the right one.
macro_rules! multidots {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(kernel: $crate::kernels::Kernel, $($arg: $type),*) {
            use $crate::kernels::{Set, dots};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
            unsafe fn wide($($arg: $type),*) {
                // SAFETY: the caller's promise; this function has the features.
                unsafe { $body::<dots::WideVnni>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avxvnni")]
            unsafe fn half_vnni($($arg: $type),*) {
                // SAFETY: the caller's promise; this function has the features.
                unsafe { $body::<dots::HalfVnni>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn half($($arg: $type),*) {
                // SAFETY: the caller's promise; this function has the features.
                unsafe { $body::<dots::Half>($($arg),*) }
            }
            // SAFETY: the caller's promise; a kernel of a set exists only where its features were detected.
            unsafe {
                match kernel.0 {
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx512Vnni => wide($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Set::AvxVnni => half_vnni($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx2 => half($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Set::NeonI8mm | Set::NeonDot => $body::<dots::Sdot>($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Set::Neon => $body::<dots::Mull>($($arg),*),
                    Set::Plain => $body::<dots::Plain>($($arg),*),
                }
            }
        }
    };
}
pub(super) use multidots;

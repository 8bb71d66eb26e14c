//! 8 results side by side of 8 channels, of a depthwise convolution of floats 3 by 3 and with stride 1 whose results are
//! levels, in `asm`: 16 sums, 6 registers of taps and 2 of values, each of which is loaded once.

use std::arch::asm;

use super::neon_levels::*;

/// What 8 results are made with, and where they go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Taps of 8 channels, row by row.
    pub(super) taps: *const f32,
    pub(super) scale: *const f32,
    pub(super) bias: *const f32,
    /// Floats from one column of the picture to the next.
    pub(super) pitch: usize,
    pub(super) to: *mut u8,
    /// Bytes from one result to the next.
    pub(super) pixel: usize,
}

/// Values of a column times the taps that need it, each for the two registers of a result's sums.
macro_rules! column {
    ($line:literal, $($op:literal $tap:literal $next:literal $low:literal $high:literal),*) => {
        concat!(
            "ld1 {{v6.4s-v7.4s}}, [{", $line, "}], {pitch}\n",
            $($op, " v", $low, ".4s, v6.4s, v", $tap, ".4s\n", $op, " v", $high, ".4s, v7.4s, v", $next, ".4s\n",)*
        )
    };
}

/// A row of taps; `$first` is what begins a sum.
macro_rules! row {
    ($line:literal, $first:literal) => {
        concat!(
            "ld1 {{v0.4s-v3.4s}}, [{taps}], #64\n",
            "ld1 {{v4.4s-v5.4s}}, [{taps}], #32\n",
            column!($line, $first "0" "1" "16" "17"),
            column!($line, "fmla" "2" "3" "16" "17", $first "0" "1" "18" "19"),
            column!($line, "fmla" "4" "5" "16" "17", "fmla" "2" "3" "18" "19", $first "0" "1" "20" "21"),
            column!($line, "fmla" "4" "5" "18" "19", "fmla" "2" "3" "20" "21", $first "0" "1" "22" "23"),
            column!($line, "fmla" "4" "5" "20" "21", "fmla" "2" "3" "22" "23", $first "0" "1" "24" "25"),
            column!($line, "fmla" "4" "5" "22" "23", "fmla" "2" "3" "24" "25", $first "0" "1" "26" "27"),
            column!($line, "fmla" "4" "5" "24" "25", "fmla" "2" "3" "26" "27", $first "0" "1" "28" "29"),
            column!($line, "fmla" "4" "5" "26" "27", "fmla" "2" "3" "28" "29", $first "0" "1" "30" "31"),
            column!($line, "fmla" "4" "5" "28" "29", "fmla" "2" "3" "30" "31"),
            column!($line, "fmla" "4" "5" "30" "31"),
        )
    };
}

/// Two results, whose sums are in these registers.
macro_rules! finished {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v2.4s-v3.4s}}, [{bias}]\n",
            "ld1 {{v4.4s-v5.4s}}, [{bias}]\n",
            "fmla v2.4s, v", $a, ".4s, v0.4s\n",
            "fmla v3.4s, v", $b, ".4s, v1.4s\n",
            "fmla v4.4s, v", $c, ".4s, v0.4s\n",
            "fmla v5.4s, v", $d, ".4s, v1.4s\n",
            each!("fcvtns", "2" "3" "4" "5"),
            narrowed!(any, "2" "3" "4" "5", "6"),
            "st1 {{v6.d}}[0], [{to}], {pixel}\n",
            "st1 {{v6.d}}[1], [{to}], {pixel}\n",
        )
    };
}

/// Makes the results.
///
/// # Safety
/// Rows must hold 8 channels of 10 columns from the first window's left on, and the place as many taps and room for 8 results
/// of 8 channels.
#[inline(always)]
pub(super) unsafe fn three(rows: [*const f32; 3], place: Place) {
    let Place { taps, scale, bias, pitch, to, pixel } = place;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            row!("a", "fmul"),
            row!("b", "fmla"),
            row!("c", "fmla"),
            "ld1 {{v0.4s-v1.4s}}, [{scale}]",
            finished!("16" "17" "18" "19"),
            finished!("20" "21" "22" "23"),
            finished!("24" "25" "26" "27"),
            finished!("28" "29" "30" "31"),
            a = inout(reg) rows[0] => _, b = inout(reg) rows[1] => _, c = inout(reg) rows[2] => _,
            taps = inout(reg) taps => _,
            scale = in(reg) scale,
            bias = in(reg) bias,
            pitch = in(reg) pitch * size_of::<f32>(),
            to = inout(reg) to => _,
            pixel = in(reg) pixel,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack, preserves_flags),
        );
    }
}

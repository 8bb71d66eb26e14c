//! 4 results side by side of 16 channels, of a depthwise convolution of levels without the dot product and with stride 1, in
//! `asm`: 16 sums, 8 registers of values, 2 of taps and 4 of products leave 2.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_levels::*;
use super::quantise::ROUNDER;

/// What 4 results are made with, and where they go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Taps of 16 channels, as [`ordered`] has them.
    pub(super) taps: *const int8x16_t,
    pub(super) start: *const i32,
    pub(super) scale: *const f32,
    pub(super) shift: *const f32,
    /// Whether all results are [fitting](super::neon_levels).
    pub(super) fitting: bool,
    pub(super) to: *mut u8,
    /// Bytes from one result to the next.
    pub(super) pitch: usize,
}

/// Taps in the order in which [`three`] and [`five`] read them: two rows at a time, column by column, and the last row.
#[inline(always)]
pub(super) fn ordered<const K: usize>(taps: &[[int8x16_t; K]; K]) -> [[int8x16_t; K]; K] {
    let mut ordered = *taps;
    let mut places = ordered.as_flattened_mut().iter_mut();
    for ky in (0..K - 1).step_by(2) {
        for kx in 0..K {
            for (tap, place) in [taps[ky][kx], taps[ky + 1][kx]].into_iter().zip(&mut places) {
                *place = tap;
            }
        }
    }
    ordered
}

/// Adds products in 4 and 5, or 2 and 3, to the sums of a result.
macro_rules! add {
    ($t:literal $u:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "saddw v", $a, ".4s, v", $a, ".4s, v", $t, ".4h\n", "saddw2 v", $b, ".4s, v", $b, ".4s, v", $t, ".8h\n",
            "saddw v", $c, ".4s, v", $c, ".4s, v", $u, ".4h\n", "saddw2 v", $d, ".4s, v", $d, ".4s, v", $u, ".8h\n",
        )
    };
}

/// Two taps, in 0 and 1, of 4 results: values of the first and of the second.
macro_rules! two {
    ($a:literal $b:literal $c:literal $d:literal, $e:literal $f:literal $g:literal $h:literal) => {
        concat!(
            two!(@ $a $e, "2" "3", "16" "17" "18" "19"),
            two!(@ $b $f, "4" "5", "20" "21" "22" "23"),
            two!(@ $c $g, "2" "3", "24" "25" "26" "27"),
            two!(@ $d $h, "4" "5", "28" "29" "30" "31"),
        )
    };
    (@ $x:literal $y:literal, $t:literal $u:literal, $($sum:literal)*) => {
        concat!(
            "smull v", $t, ".8h, v", $x, ".8b, v0.8b\n",
            "smull2 v", $u, ".8h, v", $x, ".16b, v0.16b\n",
            "smlal v", $t, ".8h, v", $y, ".8b, v1.8b\n",
            "smlal2 v", $u, ".8h, v", $y, ".16b, v1.16b\n",
            add!($t $u, $($sum)*),
        )
    };
}

/// One tap, in 0, of 4 results.
macro_rules! one {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            one!(@ $a, "2" "3", "16" "17" "18" "19"),
            one!(@ $b, "4" "5", "20" "21" "22" "23"),
            one!(@ $c, "2" "3", "24" "25" "26" "27"),
            one!(@ $d, "4" "5", "28" "29" "30" "31"),
        )
    };
    (@ $x:literal, $t:literal $u:literal, $($sum:literal)*) => {
        concat!(
            "smull v", $t, ".8h, v", $x, ".8b, v0.8b\n",
            "smull2 v", $u, ".8h, v", $x, ".16b, v0.16b\n",
            add!($t $u, $($sum)*),
        )
    };
}

/// The first three columns of taps of two rows.
macro_rules! three_columns {
    ($one:literal, $two:literal) => {
        concat!(
            "ld1 {{v6.16b-v9.16b}}, [{", $one, "}], #64\n",
            "ld1 {{v10.16b-v13.16b}}, [{", $two, "}], #64\n",
            "ld1 {{v0.16b-v1.16b}}, [{taps}], #32\n",
            two!("6" "7" "8" "9", "10" "11" "12" "13"),
            next_column!($one, $two, "6" "10"),
            two!("7" "8" "9" "6", "11" "12" "13" "10"),
            next_column!($one, $two, "7" "11"),
            two!("8" "9" "6" "7", "12" "13" "10" "11"),
        )
    };
}

/// One more column of values in these registers, and the taps that need it.
macro_rules! next_column {
    ($one:literal, $two:literal, $x:literal $y:literal) => {
        concat!(
            "ld1 {{v",
            $x,
            ".16b}}, [{",
            $one,
            "}], #16\n",
            "ld1 {{v",
            $y,
            ".16b}}, [{",
            $two,
            "}], #16\n",
            "ld1 {{v0.16b-v1.16b}}, [{taps}], #32\n",
        )
    };
}

/// All 5 columns of taps of two rows.
macro_rules! five_columns {
    ($one:literal, $two:literal) => {
        concat!(
            three_columns!($one, $two),
            next_column!($one, $two, "8" "12"),
            two!("9" "6" "7" "8", "13" "10" "11" "12"),
            next_column!($one, $two, "9" "13"),
            two!("6" "7" "8" "9", "10" "11" "12" "13"),
        )
    };
}

macro_rules! finished {
    ($fit:ident) => {
        concat!(
            shift_ends!(),
            shift_row!($fit, "16" "17" "18" "19"),
            "st1 {{v16.16b}}, [{to}], {pitch}\n",
            shift_row!($fit, "20" "21" "22" "23"),
            "st1 {{v20.16b}}, [{to}], {pitch}\n",
            shift_row!($fit, "24" "25" "26" "27"),
            "st1 {{v24.16b}}, [{to}], {pitch}\n",
            shift_row!($fit, "28" "29" "30" "31"),
            "st1 {{v28.16b}}, [{to}], {pitch}\n",
        )
    };
}

macro_rules! tile {
    ($rows:expr, $place:expr, $sums:expr, $finished:expr, $($row:ident)*) => {{
        let [$($row),*] = $rows;
        let Place { taps, start, scale, shift, to, pitch, .. } = $place;
        asm!(
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v20.4s-v23.4s}}, [{start}]",
            "ld1 {{v24.4s-v27.4s}}, [{start}]",
            "ld1 {{v28.4s-v31.4s}}, [{start}]",
            $sums,
            $finished,
            $($row = inout(reg) $row => _,)*
            taps = inout(reg) taps => _,
            start = in(reg) start,
            scale = in(reg) scale,
            shift = in(reg) shift,
            rounder = in(reg) ROUNDER.to_bits(),
            to = inout(reg) to => _,
            pitch = in(reg) pitch,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack, preserves_flags),
        )
    }};
}

macro_rules! three_by_three {
    () => {
        concat!(
            three_columns!("a", "b"),
            "ld1 {{v6.16b-v9.16b}}, [{c}], #64\n",
            "ld1 {{v10.16b-v11.16b}}, [{c}]\n",
            "ld1 {{v0.16b-v1.16b}}, [{taps}], #32\n",
            two!("6" "7" "8" "9", "7" "8" "9" "10"),
            "ld1 {{v0.16b}}, [{taps}]\n",
            one!("8" "9" "10" "11"),
        )
    };
}

macro_rules! five_by_five {
    () => {
        concat!(
            five_columns!("a", "b"),
            five_columns!("c", "d"),
            "ld1 {{v6.16b-v9.16b}}, [{e}], #64\n",
            "ld1 {{v10.16b-v13.16b}}, [{e}]\n",
            "ld1 {{v0.16b-v1.16b}}, [{taps}], #32\n",
            two!("6" "7" "8" "9", "7" "8" "9" "10"),
            "ld1 {{v0.16b-v1.16b}}, [{taps}], #32\n",
            two!("8" "9" "10" "11", "9" "10" "11" "12"),
            "ld1 {{v0.16b}}, [{taps}]\n",
            one!("10" "11" "12" "13"),
        )
    };
}

/// Makes the results with a kernel of 3 by 3.
///
/// # Safety
/// Rows must hold 16 channels of 6 columns from the first window's left on, and the place as many taps and room for 4 results
/// of 16 channels.
#[inline(always)]
pub(super) unsafe fn three(rows: [*const i8; 3], place: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        if place.fitting {
            tile!(rows, place, three_by_three!(), finished!(fitting), a b c);
        } else {
            tile!(rows, place, three_by_three!(), finished!(any), a b c);
        }
    }
}

/// Makes the results with a kernel of 5 by 5.
///
/// # Safety
/// Rows must hold 16 channels of 8 columns from the first window's left on, and the place as many taps and room for 4 results
/// of 16 channels.
#[inline(always)]
pub(super) unsafe fn five(rows: [*const i8; 5], place: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        if place.fitting {
            tile!(rows, place, five_by_five!(), finished!(fitting), a b c d e);
        } else {
            tile!(rows, place, five_by_five!(), finished!(any), a b c d e);
        }
    }
}

//! 4 results side by side of 16 channels, of a depthwise convolution of levels without the dot product, in `asm`: 16 sums, 8
//! registers of values, 5 of taps and 2 of products leave 1.
//!
//! Where the products of a row of taps fit 16 bits (*light* taps) they are summed there; of others two are.

use std::arch::aarch64::*;
use std::arch::asm;

use super::levels::LIFT;
use super::neon_levels::*;
use super::quantise::ROUNDER;

/// What the magnitudes of a row of light taps sum up to at most.
pub(super) const LIGHT: u32 = i16::MAX as u32 / LIFT as u32;

/// What 4 results are made with, and where they go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Taps of 16 channels, row by row.
    pub(super) taps: *const int8x16_t,
    /// Whether each row of them is light in all channels.
    pub(super) light: bool,
    pub(super) start: *const i32,
    pub(super) scale: *const f32,
    pub(super) shift: *const f32,
    /// Whether all results are [fitting](super::neon_levels).
    pub(super) fitting: bool,
    pub(super) to: *mut u8,
    /// Bytes from one result to the next.
    pub(super) pitch: usize,
}

/// Values times taps of 16 channels, summed in registers `$t` and `$u` and added to the sums of a result.
macro_rules! some {
    ($t:literal $u:literal, $first:literal $tap:literal $($x:literal $w:literal)*, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "smull v", $t, ".8h, v", $first, ".8b, v", $tap, ".8b\n",
            "smull2 v", $u, ".8h, v", $first, ".16b, v", $tap, ".16b\n",
            $(
                "smlal v", $t, ".8h, v", $x, ".8b, v", $w, ".8b\n",
                "smlal2 v", $u, ".8h, v", $x, ".16b, v", $w, ".16b\n",
            )*
            "saddw v", $a, ".4s, v", $a, ".4s, v", $t, ".4h\n", "saddw2 v", $b, ".4s, v", $b, ".4s, v", $t, ".8h\n",
            "saddw v", $c, ".4s, v", $c, ".4s, v", $u, ".4h\n", "saddw2 v", $d, ".4s, v", $d, ".4s, v", $u, ".8h\n",
        )
    };
}

/// A row of 3 taps, in registers 8 to 10, of a result.
macro_rules! three_taps {
    (light, $t:literal $u:literal, $x:literal $y:literal $z:literal, $($sum:literal)*) => {
        some!($t $u, $x "8" $y "9" $z "10", $($sum)*)
    };
    (heavy, $t:literal $u:literal, $x:literal $y:literal $z:literal, $($sum:literal)*) => {
        concat!(some!($t $u, $x "8" $y "9", $($sum)*), some!("13" "14", $z "10", $($sum)*))
    };
}

/// A row of 5 taps, in registers 8 to 12, of a result.
macro_rules! five_taps {
    (light, $v:literal $w:literal $x:literal $y:literal $z:literal, $($sum:literal)*) => {
        some!("13" "14", $v "8" $w "9" $x "10" $y "11" $z "12", $($sum)*)
    };
    (heavy, $v:literal $w:literal $x:literal $y:literal $z:literal, $($sum:literal)*) => {
        concat!(
            some!("13" "14", $v "8" $w "9", $($sum)*),
            some!("13" "14", $x "10" $y "11", $($sum)*),
            some!("13" "14", $z "12", $($sum)*),
        )
    };
}

/// A row of 3 taps of 4 results, so many columns apart.
macro_rules! three_row {
    (1, $kind:ident, $row:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v4.16b-v5.16b}}, [{", $row, "}]\n",
            "ld1 {{v8.16b-v10.16b}}, [{taps}], #48\n",
            three_taps!($kind, "11" "12", "0" "1" "2", "16" "17" "18" "19"),
            three_taps!($kind, "6" "7", "1" "2" "3", "20" "21" "22" "23"),
            three_taps!($kind, "11" "12", "2" "3" "4", "24" "25" "26" "27"),
            three_taps!($kind, "6" "7", "3" "4" "5", "28" "29" "30" "31"),
        )
    };
    (2, $kind:ident, $row:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v4.16b-v7.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v15.16b}}, [{", $row, "}]\n",
            "ld1 {{v8.16b-v10.16b}}, [{taps}], #48\n",
            three_taps!($kind, "11" "12", "0" "1" "2", "16" "17" "18" "19"),
            three_taps!($kind, "13" "14", "2" "3" "4", "20" "21" "22" "23"),
            three_taps!($kind, "11" "12", "4" "5" "6", "24" "25" "26" "27"),
            three_taps!($kind, "13" "14", "6" "7" "15", "28" "29" "30" "31"),
        )
    };
}

/// A row of 5 taps of 4 results, so many columns apart.
macro_rules! five_row {
    (1, $kind:ident, $row:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v4.16b-v7.16b}}, [{", $row, "}]\n",
            "ld1 {{v8.16b-v11.16b}}, [{taps}], #64\n",
            "ld1 {{v12.16b}}, [{taps}], #16\n",
            five_taps!($kind, "0" "1" "2" "3" "4", "16" "17" "18" "19"),
            five_taps!($kind, "1" "2" "3" "4" "5", "20" "21" "22" "23"),
            five_taps!($kind, "2" "3" "4" "5" "6", "24" "25" "26" "27"),
            five_taps!($kind, "3" "4" "5" "6" "7", "28" "29" "30" "31"),
        )
    };
    (2, $kind:ident, $row:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v4.16b-v7.16b}}, [{", $row, "}], #64\n",
            "ld1 {{v8.16b-v11.16b}}, [{taps}], #64\n",
            "ld1 {{v12.16b}}, [{taps}], #16\n",
            five_taps!($kind, "0" "1" "2" "3" "4", "16" "17" "18" "19"),
            five_taps!($kind, "2" "3" "4" "5" "6", "20" "21" "22" "23"),
            "ld1 {{v0.16b-v2.16b}}, [{", $row, "}]\n",
            five_taps!($kind, "4" "5" "6" "7" "0", "24" "25" "26" "27"),
            five_taps!($kind, "6" "7" "0" "1" "2", "28" "29" "30" "31"),
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
    ($place:expr, $finished:expr, $($rows:expr, $row:ident $pointer:expr);*) => {{
        let Place { taps, start, scale, shift, to, pitch, .. } = $place;
        asm!(
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v20.4s-v23.4s}}, [{start}]",
            "ld1 {{v24.4s-v27.4s}}, [{start}]",
            "ld1 {{v28.4s-v31.4s}}, [{start}]",
            $($rows,)*
            $finished,
            $($row = inout(reg) $pointer => _,)*
            taps = inout(reg) taps => _,
            start = in(reg) start,
            scale = in(reg) scale,
            shift = in(reg) shift,
            rounder = in(reg) ROUNDER.to_bits(),
            to = inout(reg) to => _,
            pitch = in(reg) pitch,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack, preserves_flags),
        )
    }};
}

/// Picks the code for taps and results of a place.
macro_rules! made {
    ($row:ident, $stride:tt, $place:expr, $($name:ident $letter:literal $pointer:expr);*) => {
        match ($place.light, $place.fitting) {
            (true, true) => tile!($place, finished!(fitting), $($row!($stride, light, $letter), $name $pointer);*),
            (true, false) => tile!($place, finished!(any), $($row!($stride, light, $letter), $name $pointer);*),
            (false, true) => tile!($place, finished!(fitting), $($row!($stride, heavy, $letter), $name $pointer);*),
            (false, false) => tile!($place, finished!(any), $($row!($stride, heavy, $letter), $name $pointer);*),
        }
    };
}

/// Makes the results with a kernel of 3 by 3 and a stride of 1 or 2.
///
/// # Safety
/// Rows must hold 16 channels of the 6 or 9 columns from the first window's left on, and the place as many taps and room for 4
/// results of 16 channels.
#[inline(always)]
pub(super) unsafe fn three<const STRIDE: usize>(rows: [*const i8; 3], place: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        if STRIDE == 1 {
            made!(three_row, 1, place, a "a" rows[0]; b "b" rows[1]; c "c" rows[2]);
        } else {
            made!(three_row, 2, place, a "a" rows[0]; b "b" rows[1]; c "c" rows[2]);
        }
    }
}

/// Makes the results with a kernel of 5 by 5 and a stride of 1 or 2.
///
/// # Safety
/// Rows must hold 16 channels of the 8 or 11 columns from the first window's left on, and the place as many taps and room for 4
/// results of 16 channels.
#[inline(always)]
pub(super) unsafe fn five<const STRIDE: usize>(rows: [*const i8; 5], place: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        if STRIDE == 1 {
            made!(five_row, 1, place, a "a" rows[0]; b "b" rows[1]; c "c" rows[2]; d "d" rows[3]; e "e" rows[4]);
        } else {
            made!(five_row, 2, place, a "a" rows[0]; b "b" rows[1]; c "c" rows[2]; d "d" rows[3]; e "e" rows[4]);
        }
    }
}

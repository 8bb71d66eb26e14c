//! AArch64, float activations in windows 3 wide and 2 apart, as the first layer of many networks has them: the values of 12
//! windows side by side are loaded as they lie, evens and odds apart, in `asm` where 24 sums, 6 registers of activations and 2
//! of weights fill all 32.

use std::arch::asm;

use super::ending::Ending;
use super::neon_float::Product;
use super::{PANEL, Strides};

/// Windows of a block.
const ROWS: usize = 12;
/// Columns of a block.
const COLUMNS: usize = 8;

/// Two registers of columns, 6 and 7, times the values of 12 windows in these registers.
macro_rules! step {
    ($a:literal $b:literal $c:literal) => {
        concat!(
            "ld1 {{v6.4s-v7.4s}}, [{weights}], {pitch}\n",
            step!(@ $a, "0" "8" "9"), step!(@ $a, "1" "10" "11"), step!(@ $a, "2" "12" "13"), step!(@ $a, "3" "14" "15"),
            step!(@ $b, "0" "16" "17"), step!(@ $b, "1" "18" "19"), step!(@ $b, "2" "20" "21"), step!(@ $b, "3" "22" "23"),
            step!(@ $c, "0" "24" "25"), step!(@ $c, "1" "26" "27"), step!(@ $c, "2" "28" "29"), step!(@ $c, "3" "30" "31"),
        )
    };
    (@ $x:literal, $lane:literal $low:literal $high:literal) => {
        concat!(
            "fmla v", $low, ".4s, v6.4s, v", $x, ".s[", $lane, "]\n",
            "fmla v", $high, ".4s, v7.4s, v", $x, ".s[", $lane, "]\n",
        )
    };
}

/// 0 in these registers.
macro_rules! zeros {
    ($($sum:literal)*) => {
        concat!($("movi v", $sum, ".2d, #0\n",)*)
    };
}

/// The results of windows whose sums are in these registers.
macro_rules! finished {
    ($($low:literal $high:literal,)*) => {
        concat!($(
            "ld1 {{v2.4s-v3.4s}}, [{bias}]\n",
            "fmla v2.4s, v0.4s, v", $low, ".4s\n",
            "fmla v3.4s, v1.4s, v", $high, ".4s\n",
            "fmaxnm v2.4s, v2.4s, v5.4s\n",
            "fmaxnm v3.4s, v3.4s, v5.4s\n",
            "fminnm v2.4s, v2.4s, v4.4s\n",
            "fminnm v3.4s, v3.4s, v4.4s\n",
            "st1 {{v2.4s-v3.4s}}, [{out}], {stride}\n",
        )*)
    };
}

/// Whether this is for [`run`].
pub(super) fn takes(strides: Strides, ending: &Ending) -> bool {
    let windows = strides.row == 2 && strides.length == 3 && strides.rows >= ROWS;
    let floats = ending.levels.is_null() && ending.residual.is_null() && ending.high.is_some();
    windows && floats && ending.columns.is_multiple_of(COLUMNS)
}

/// All rows of a panel, which `panel` has as floats; the last block overlaps the one before it and writes the same values.
///
/// # Safety
/// [`takes`] must have said so, and every array must be as large as the strides say.
pub(super) unsafe fn run(product: Product, panel: *const f32) {
    let Strides { rows, planes, plane, pieces, piece, .. } = product.strides;
    for column in (0..product.ending.columns.min(PANEL)).step_by(COLUMNS) {
        for row in (0..rows).step_by(ROWS) {
            let row = row.min(rows - ROWS);
            let high = product.ending.high.unwrap_or_default();
            // SAFETY: there are ROWS windows from `row` on, 2 floats apart and 3 long in each piece, and COLUMNS columns.
            unsafe {
                let ending = product.ending.at_column(column).at_row(row);
                asm!(
                    zeros!("8" "9" "10" "11" "12" "13" "14" "15" "16" "17" "18" "19"),
                    zeros!("20" "21" "22" "23" "24" "25" "26" "27" "28" "29" "30" "31"),
                    "2:",
                    "mov {left}, {pieces}",
                    "3:",
                    "ld2 {{v0.4s-v1.4s}}, [{x}], #32",
                    "ld2 {{v2.4s-v3.4s}}, [{x}], #32",
                    "ld2 {{v4.4s-v5.4s}}, [{x}], #32",
                    step!("0" "2" "4"),
                    step!("1" "3" "5"),
                    "ldr s5, [{x}]",
                    "ext v1.16b, v0.16b, v2.16b, #4",
                    "ext v3.16b, v2.16b, v4.16b, #4",
                    "ext v5.16b, v4.16b, v5.16b, #4",
                    step!("1" "3" "5"),
                    "subs {left}, {left}, #1",
                    "add {x}, {x}, {piece}",
                    "b.ne 3b",
                    "subs {planes}, {planes}, #1",
                    "add {x}, {x}, {plane}",
                    "b.ne 2b",
                    "ld1 {{v0.4s-v1.4s}}, [{scale}]",
                    "ld1r {{v4.4s}}, [{high}]",
                    "movi v5.2d, #0",
                    finished!("8" "9", "10" "11", "12" "13", "14" "15", "16" "17", "18" "19",),
                    finished!("20" "21", "22" "23", "24" "25", "26" "27", "28" "29", "30" "31",),
                    x = inout(reg) product.x.add(row * 2) => _,
                    weights = inout(reg) panel.add(column) => _,
                    pitch = in(reg) PANEL * size_of::<f32>(),
                    left = out(reg) _,
                    pieces = in(reg) pieces,
                    planes = inout(reg) planes => _,
                    // From the end of what was loaded of a piece.
                    piece = in(reg) piece.wrapping_sub(2 * ROWS).wrapping_mul(size_of::<f32>()),
                    plane = in(reg) plane.wrapping_sub(pieces * piece).wrapping_mul(size_of::<f32>()),
                    scale = in(reg) ending.scale,
                    bias = in(reg) ending.bias,
                    high = in(reg) &high,
                    out = inout(reg) ending.out => _,
                    stride = in(reg) ending.stride * size_of::<f32>(),
                    options(nostack),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
                    out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                    out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
                    out("v29") _, out("v30") _, out("v31") _,
                );
            }
        }
    }
}

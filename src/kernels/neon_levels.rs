//! Sums to levels on AArch64, in `asm`: the compiler would move more than it computes.
//!
//! Each step towards bytes holds what it cannot take: NaN counts as 0 in the conversion, narrowing holds the rest in 0..=255,
//! and adding that to the byte of level 0 holds it below the level above the last. Where every result is sure to fit 16 bits
//! (`fitting`, else `any`) the first narrowing takes halves as they are, two registers at a time.

/// Results whose magnitudes are not above this are `fitting`: far enough below `i16::MAX` for any rounding on the way.
pub(super) const FITS: f32 = 32_000.0;

/// An instruction for each of these registers.
macro_rules! each {
    ($name:literal, $($a:literal)*) => {
        concat!($($name, " v", $a, ".4s, v", $a, ".4s\n",)*)
    };
}

/// 16 whole numbers in 4 registers, which are spoilt, as levels in register `$to`, which is none of them.
macro_rules! narrowed {
    (fitting, $a:literal $b:literal $c:literal $d:literal, $to:literal) => {
        concat!(
            "uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n",
            "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",
            narrowed!(halves, $a $c, $to)
        )
    };
    (any, $a:literal $b:literal $c:literal $d:literal, $to:literal) => {
        concat!(
            "sqxtn v", $a, ".4h, v", $a, ".4s\n",
            "sqxtn v", $c, ".4h, v", $c, ".4s\n",
            "sqxtn2 v", $a, ".8h, v", $b, ".4s\n",
            "sqxtn2 v", $c, ".8h, v", $d, ".4s\n",
            narrowed!(halves, $a $c, $to)
        )
    };
    (halves, $a:literal $c:literal, $to:literal) => {
        concat!(
            "movi v", $to, ".16b, #0x81\n",
            "sqxtun v", $a, ".8b, v", $a, ".8h\n",
            "sqxtun2 v", $a, ".16b, v", $c, ".8h\n",
            "suqadd v", $to, ".16b, v", $a, ".16b\n",
        )
    };
}

/// 16 levels less 127 in these 4 registers, which are spoilt, as floats that are [`ROUNDER`](super::quantise::ROUNDER) larger
/// (see [`Shift`](super::levels::Shift)), as bytes in register `$to`, which is none of them.
macro_rules! shifted {
    (fitting, $a:literal $b:literal $c:literal $d:literal, $to:literal, $rounder:literal, $lowest:literal) => {
        concat!(
            "// ", $rounder, " is not needed\n",
            "uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n",
            "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",
            shifted!(halves, $a $c, $to, $lowest)
        )
    };
    (any, $a:literal $b:literal $c:literal $d:literal, $to:literal, $rounder:literal, $lowest:literal) => {
        concat!(
            shifted!(whole, $rounder, $a $b $c $d),
            "sqxtn v", $a, ".4h, v", $a, ".4s\n",
            "sqxtn v", $c, ".4h, v", $c, ".4s\n",
            "sqxtn2 v", $a, ".8h, v", $b, ".4s\n",
            "sqxtn2 v", $c, ".8h, v", $d, ".4s\n",
            shifted!(halves, $a $c, $to, $lowest)
        )
    };
    (whole, $rounder:literal, $($a:literal)*) => {
        concat!($("sub v", $a, ".4s, v", $a, ".4s, ", $rounder, ".4s\n",)*)
    };
    (halves, $a:literal $c:literal, $to:literal, $lowest:literal) => {
        concat!(
            "sqxtn v", $to, ".8b, v", $a, ".8h\n",
            "sqxtn2 v", $to, ".16b, v", $c, ".8h\n",
            "smax v", $to, ".16b, v", $to, ".16b, ", $lowest, ".16b\n",
        )
    };
}

/// What [`shift_row`] has in registers 0 to 3, 8 and 9.
macro_rules! shift_ends {
    () => {
        "ld1 {{v0.4s-v3.4s}}, [{scale}]\n movi v8.16b, #0x81\n dup v9.4s, {rounder:w}\n"
    };
}

/// 16 sums in these 4 registers as levels in the first of them, by the scales in registers 0 to 3 and the shifts at `{shift}`.
/// Registers 4 to 7 are spoilt.
macro_rules! shift_row {
    ($fit:ident, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v4.4s-v7.4s}}, [{shift}]\n",
            "fmla v4.4s, v0.4s, v", $a, ".4s\n",
            "fmla v5.4s, v1.4s, v", $b, ".4s\n",
            "fmla v6.4s, v2.4s, v", $c, ".4s\n",
            "fmla v7.4s, v3.4s, v", $d, ".4s\n",
            shifted!($fit, "4" "5" "6" "7", $a, "v9", "v8"),
        )
    };
}

/// 16 sums in these 4 registers, times the scales in registers 0 to 3, plus the biases at `{bias}`: as levels in the first of
/// them. Registers 4 to 7 are spoilt.
macro_rules! finish_row {
    ($fit:ident, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v4.4s-v7.4s}}, [{bias}]\n",
            each!("scvtf", $a $b $c $d),
            "fmla v4.4s, v0.4s, v", $a, ".4s\n",
            "fmla v5.4s, v1.4s, v", $b, ".4s\n",
            "fmla v6.4s, v2.4s, v", $c, ".4s\n",
            "fmla v7.4s, v3.4s, v", $d, ".4s\n",
            each!("fcvtns", "4" "5" "6" "7"),
            narrowed!($fit, "4" "5" "6" "7", $a),
        )
    };
}

/// The scales of 16 columns in registers `$a` to `$d`, times a row's, in registers 0 to 3.
macro_rules! scaled {
    ($a:literal $b:literal $c:literal $d:literal, $row:literal) => {
        concat!(
            "fmul v0.4s, v",
            $a,
            ".4s, ",
            $row,
            "\n",
            "fmul v1.4s, v",
            $b,
            ".4s, ",
            $row,
            "\n",
            "fmul v2.4s, v",
            $c,
            ".4s, ",
            $row,
            "\n",
            "fmul v3.4s, v",
            $d,
            ".4s, ",
            $row,
            "\n",
        )
    };
}

/// Finishes 6 rows of 16 sums, in registers 8 to 31, as levels.
macro_rules! six_rows {
    ($fit:ident, $sums:expr, $ending:expr) => {{
        let [one, two, three, four, five, six] = $sums;
        // What is finished makes room for what the rows after it share.
        asm!(
            "ld1 {{v0.4s-v3.4s}}, [{scale}]",
            "ld1r {{v7.4s}}, [{row_scale}], #4",
            scaled!("0" "1" "2" "3", "v7.4s"),
            finish_row!($fit, "8" "9" "10" "11"),
            "st1 {{v8.16b}}, [{to}], {stride}",
            "ld1 {{v8.4s-v11.4s}}, [{scale}]",
            "ld1r {{v7.4s}}, [{row_scale}], #4",
            scaled!("8" "9" "10" "11", "v7.4s"),
            finish_row!($fit, "12" "13" "14" "15"),
            "st1 {{v12.16b}}, [{to}], {stride}",
            "ld1 {{v13.4s}}, [{row_scale}]",
            scaled!("8" "9" "10" "11", "v13.s[0]"),
            finish_row!($fit, "16" "17" "18" "19"),
            "st1 {{v16.16b}}, [{to}], {stride}",
            scaled!("8" "9" "10" "11", "v13.s[1]"),
            finish_row!($fit, "20" "21" "22" "23"),
            "st1 {{v20.16b}}, [{to}], {stride}",
            scaled!("8" "9" "10" "11", "v13.s[2]"),
            finish_row!($fit, "24" "25" "26" "27"),
            "st1 {{v24.16b}}, [{to}], {stride}",
            scaled!("8" "9" "10" "11", "v13.s[3]"),
            finish_row!($fit, "28" "29" "30" "31"),
            "st1 {{v28.16b}}, [{to}]",
            scale = in(reg) $ending.scale,
            bias = in(reg) $ending.bias,
            stride = in(reg) $ending.stride,
            to = inout(reg) $ending.levels => _,
            row_scale = inout(reg) $ending.row_scale => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            inout("v8") one[0] => _, inout("v9") one[1] => _, inout("v10") one[2] => _, inout("v11") one[3] => _,
            inout("v12") two[0] => _, inout("v13") two[1] => _, inout("v14") two[2] => _, inout("v15") two[3] => _,
            inout("v16") three[0] => _, inout("v17") three[1] => _, inout("v18") three[2] => _, inout("v19") three[3] => _,
            inout("v20") four[0] => _, inout("v21") four[1] => _, inout("v22") four[2] => _, inout("v23") four[3] => _,
            inout("v24") five[0] => _, inout("v25") five[1] => _, inout("v26") five[2] => _, inout("v27") five[3] => _,
            inout("v28") six[0] => _, inout("v29") six[1] => _, inout("v30") six[2] => _, inout("v31") six[3] => _,
            options(nostack, preserves_flags),
        )
    }};
}

/// Finishes 2 rows of 16 sums, in registers 16 to 23, as levels.
macro_rules! two_rows {
    ($fit:ident, $sums:expr, $ending:expr) => {{
        let [one, two] = $sums;
        asm!(
            "ld1 {{v8.4s-v11.4s}}, [{scale}]",
            "ld1 {{v12.2s}}, [{row_scale}]",
            scaled!("8" "9" "10" "11", "v12.s[0]"),
            finish_row!($fit, "16" "17" "18" "19"),
            "st1 {{v16.16b}}, [{to}], {stride}",
            scaled!("8" "9" "10" "11", "v12.s[1]"),
            finish_row!($fit, "20" "21" "22" "23"),
            "st1 {{v20.16b}}, [{to}]",
            scale = in(reg) $ending.scale,
            bias = in(reg) $ending.bias,
            stride = in(reg) $ending.stride,
            to = inout(reg) $ending.levels => _,
            row_scale = in(reg) $ending.row_scale,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _,
            inout("v16") one[0] => _, inout("v17") one[1] => _, inout("v18") one[2] => _, inout("v19") one[3] => _,
            inout("v20") two[0] => _, inout("v21") two[1] => _, inout("v22") two[2] => _, inout("v23") two[3] => _,
            options(nostack, preserves_flags),
        )
    }};
}

pub(super) use {each, finish_row, narrowed, scaled, shift_ends, shift_row, shifted, six_rows, two_rows};

//! Sums to floats on AArch64, in `asm`: the compiler would load scales and biases a register at a time.

/// What is done for 16 sums in these 4 registers; the floats are in registers 4 to 7 before they are stored.
macro_rules! float_row {
    ($row:ident, $scaled:ident, $then:ident, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            float_row!(@ $scaled),
            "ld1 {{v4.4s-v7.4s}}, [{bias}]\n",
            each!("scvtf", $a $b $c $d),
            "fmla v4.4s, v0.4s, v", $a, ".4s\n",
            "fmla v5.4s, v1.4s, v", $b, ".4s\n",
            "fmla v6.4s, v2.4s, v", $c, ".4s\n",
            "fmla v7.4s, v3.4s, v", $d, ".4s\n",
            float_row!(@ $row $then, $a $b $c $d),
            "st1 {{v4.4s-v7.4s}}, [{out}], {stride}\n",
        )
    };
    (@ scaled) => {
        concat!(
            "ld1 {{v0.4s-v3.4s}}, [{scale}]\n",
            "ld1r {{v4.4s}}, [{row_scale}], #4\n",
            "fmul v0.4s, v0.4s, v4.4s\n",
            "fmul v1.4s, v1.4s, v4.4s\n",
            "fmul v2.4s, v2.4s, v4.4s\n",
            "fmul v3.4s, v3.4s, v4.4s\n",
        )
    };
    (@ unscaled) => {
        ""
    };
    (@ $row:ident alone, $($sum:literal)*) => {
        ""
    };
    // The first row's registers hold the bounds from then on.
    (@ first held, $($sum:literal)*) => {
        concat!("movi v8.2d, #0\n", "ld1r {{v9.4s}}, [{high}]\n", float_row!(@ later held, ""))
    };
    (@ later held, $($sum:literal)*) => {
        concat!(float_row!(@@ "fmaxnm", "v8"), float_row!(@@ "fminnm", "v9"))
    };
    (@ $row:ident added, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v", $a, ".4s-v", $d, ".4s}}, [{residual}], {stride}\n",
            "fadd v4.4s, v4.4s, v", $a, ".4s\n",
            "fadd v5.4s, v5.4s, v", $b, ".4s\n",
            "fadd v6.4s, v6.4s, v", $c, ".4s\n",
            "fadd v7.4s, v7.4s, v", $d, ".4s\n",
        )
    };
    (@@ $name:literal, $by:literal) => {
        concat!(
            $name, " v4.4s, v4.4s, ", $by, ".4s\n",
            $name, " v5.4s, v5.4s, ", $by, ".4s\n",
            $name, " v6.4s, v6.4s, ", $by, ".4s\n",
            $name, " v7.4s, v7.4s, ", $by, ".4s\n",
        )
    };
}

/// Finishes 6 rows of 16 sums, in registers 8 to 31, as floats: `scaled` or `unscaled` rows, then `alone`, `held` in the bounds of
/// a ReLU6, or with a residual `added`.
macro_rules! six_float_rows {
    ($scaled:ident, $then:ident, $sums:expr, $ending:expr, $high:expr) => {{
        let [one, two, three, four, five, six] = $sums;
        asm!(
            "// {row_scale} {high} {residual}: not all are needed",
            "ld1 {{v0.4s-v3.4s}}, [{scale}]",
            float_row!(first, $scaled, $then, "8" "9" "10" "11"),
            float_row!(later, $scaled, $then, "12" "13" "14" "15"),
            float_row!(later, $scaled, $then, "16" "17" "18" "19"),
            float_row!(later, $scaled, $then, "20" "21" "22" "23"),
            float_row!(later, $scaled, $then, "24" "25" "26" "27"),
            float_row!(later, $scaled, $then, "28" "29" "30" "31"),
            scale = in(reg) $ending.scale,
            bias = in(reg) $ending.bias,
            row_scale = inout(reg) $ending.row_scale => _,
            high = in(reg) &$high,
            residual = inout(reg) $ending.residual => _,
            out = inout(reg) $ending.out => _,
            stride = in(reg) $ending.stride * size_of::<f32>(),
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

pub(super) use {float_row, six_float_rows};

//! int8 matrix products: weights packed once, activations quantised a row at a time, 32-bit sums, float results.
//!
//! `out[m][n] = row_scale[m] * column_scale[n] * sum_k(q[m][k] * w[k][n]) + bias[n]`, with `q` symmetric per row
//! (`row_scale = max|x| / 127`) and `w` symmetric per column. The sum is exact, and the last line is one fused
//! multiply-add, so **every kernel gives the same bits** as `plain`.
//!
//! | file | what it holds |
//! |---|---|
//! | `pack` | the layout of weights that all kernels share |
//! | `quantise` | activations to int8, and what becomes of NaN and infinities |
//! | `uniform` | the same with one scale for a whole tensor |
//! | `ending` | what follows a product: scales, bias, activation, residual |
//! | `float` | float activations times int8 weights (`precision = "weights"`) |
//! | `depthwise` | depthwise convolution in float |
//! | `levels` | activations that stay bytes from layer to layer |
//! | `depthwise_levels` | depthwise convolution of those |
//! | `dots` | products of four bytes a lane |
//! | `aligned` | buffers on whole cache lines |
//! | `softmax` | weights of attention, as bytes |
//! | `lanes` | registers of floats, in which most loops are written once for all instruction sets |
//! | `vector` | loops that the compiler vectorises once per instruction set: activations, layer norm |
//! | `plain` | the reference, for any machine |
//! | `avx512_vnni`, `avx_vnni`, `avx2` | x86-64 |
//! | `neon_i8mm`, `neon_dot`, `neon` | AArch64 with products of matrices, with dot products, with neither |
//! | `neon_dot_tile`, `neon_tile` | what the latter two do with many rows |
//! | `neon_levels` | what follows their products where results become levels |
//! | `neon_floats` | what follows them where results become floats |
//! | `neon_quantise` | AArch64: rows to int8 |
//! | `bounds` | what they know of weights: which sums and results fit 16 bits |
//! | `neon_depthwise_tile` | what `neon_depthwise` does with stride 1 |
//! | `neon_windows` | AArch64: float activations in windows 2 apart |
//! | `neon_mixed` | AArch64: depthwise convolution of floats to levels |
//! | `neon_float`, `neon_depthwise` | AArch64: float activations; depthwise convolution of levels without dot products |
//!
//! The kernel is chosen when the program runs. `LOOKOUT_KERNEL` (a name of [`Kernel::name`]) picks another of those
//! that the machine has.

mod aligned;
#[cfg(target_arch = "aarch64")]
mod bounds;
mod depthwise;
mod depthwise_levels;
mod dots;
mod ending;
mod float;
mod lanes;
mod levels;
mod pack;
mod plain;
mod quantise;
mod softmax;
mod uniform;
#[macro_use]
mod vector;
mod product;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_depthwise;
#[cfg(target_arch = "aarch64")]
mod neon_depthwise_tile;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
#[cfg(target_arch = "aarch64")]
mod neon_dot_tile;
#[cfg(target_arch = "aarch64")]
mod neon_float;
#[cfg(target_arch = "aarch64")]
mod neon_floats;
#[cfg(target_arch = "aarch64")]
mod neon_i8mm;
#[cfg(target_arch = "aarch64")]
mod neon_levels;
#[cfg(target_arch = "aarch64")]
mod neon_mixed;
#[cfg(target_arch = "aarch64")]
mod neon_quantise;
#[cfg(target_arch = "aarch64")]
mod neon_tile;
#[cfg(target_arch = "aarch64")]
mod neon_windows;
#[cfg(target_arch = "x86_64")]
mod ymm;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::OnceLock;

use ending::Ending;

pub use aligned::Floats;
pub use depthwise::{Lines, Taps, Window, depthwise, depthwise_to_levels};
pub use depthwise_levels::{LevelLines, LevelTaps};
pub use ending::Finish;
pub use float::{Columns, Strides};
pub use levels::{TOP_LEVEL, padded, rows_of_levels};
pub use pack::{PANEL, Packed, check};
pub use product::{Axis, Product, product};
pub use quantise::{Form, Rows, View};
pub use softmax::softmax_to_bytes;
pub use uniform::{MOST_ROWS, Windows, pixels, rows_of_bytes};
pub use vector::{Activation, activate, add, add_exp, layer_norm, softmax};

/// An instruction set that this machine has. A value is proof of it: there is no way to make one without looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

impl Kernel {
    /// What this machine has, fastest first. Never empty: the last is the plain one.
    pub fn available() -> Vec<Kernel> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let half = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = half
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            if wide && is_x86_feature_detected!("avx512vnni") {
                sets.push(Set::Avx512Vnni);
            }
            if half && is_x86_feature_detected!("avxvnni") {
                sets.push(Set::AvxVnni);
            }
            if half {
                sets.push(Set::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("i8mm") {
                sets.push(Set::NeonI8mm);
            }
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                sets.push(Set::NeonDot);
            }
            sets.push(Set::Neon);
        }
        sets.push(Set::Plain);
        sets.into_iter().map(Kernel).collect()
    }

    /// The kernel that this process uses: the fastest, or the one that `LOOKOUT_KERNEL` names.
    pub fn chosen() -> Kernel {
        static CHOSEN: OnceLock<Kernel> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let available = Kernel::available();
            let Ok(wanted) = std::env::var("LOOKOUT_KERNEL") else { return available[0] };
            match available.iter().find(|kernel| kernel.name() == wanted) {
                Some(kernel) => *kernel,
                None => {
                    log::warn!("LOOKOUT_KERNEL={wanted}: this machine lacks it, using {}", available[0].name());
                    available[0]
                }
            }
        })
    }

    /// `avx512-vnni`, `avx-vnni`, `avx2`, `neon-i8mm`, `neon-dot`, `neon` or `plain`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::NeonI8mm => "neon-i8mm",
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot => "neon-dot",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            Set::Plain => "plain",
        }
    }

    /// How this kernel wants signed activations: the VNNI instructions multiply unsigned by signed bytes.
    pub fn form(self) -> Form {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni | Set::AvxVnni => Form::Offset,
            _ => Form::Signed,
        }
    }

    /// The largest value of a row of [`Form::Positive`].
    pub fn positive_max(self) -> f32 {
        if self.form() == Form::Offset { 255.0 } else { 127.0 }
    }

    /// `rows` times the columns of `panels`, with scales and bias, and what `finish` says. `out[0]` is row 0 of the first
    /// panel's first column; rows lie `stride` floats apart.
    ///
    /// # Panics
    /// When the shapes do not fit together or `rows` were made for another kernel.
    pub fn multiply(
        self,
        rows: View,
        weights: &Packed,
        panels: Range<usize>,
        finish: Finish,
        out: &mut [f32],
        stride: usize,
    ) {
        let count = rows.count();
        if count == 0 || panels.is_empty() {
            return;
        }
        assert!(panels.end <= weights.panels(), "panels {panels:?} of {}", weights.panels());
        let first = panels.start * PANEL;
        let columns = weights.columns().min(panels.end * PANEL) - first;
        finish.check(count, columns, out, stride);
        let ending = finish.ending(&weights.scale()[first..], &weights.bias()[first..], out, stride, columns);
        // SAFETY: the result has room for `count` rows of `columns`.
        unsafe { self.multiply_into(rows, weights, panels, ending) };
        finish.rest(self, count, columns, out, stride);
    }

    /// `rows` times the columns of `panels` as levels; `weights` are in steps. `out[0]` is row 0 of the first panel's first
    /// column; rows lie `stride` bytes apart and have whole panels.
    ///
    /// # Panics
    /// When the shapes do not fit together or `rows` were made for another kernel.
    pub fn multiply_to_levels(self, rows: View, weights: &Packed, panels: Range<usize>, out: &mut [u8], stride: usize) {
        if rows.count() == 0 || panels.is_empty() {
            return;
        }
        assert!(panels.end <= weights.panels(), "panels {panels:?} of {}", weights.panels());
        let padded = panels.len() * PANEL;
        assert!(stride >= padded && out.len() >= (rows.count() - 1) * stride + padded, "room for the result");
        let first = panels.start * PANEL;
        let (scale, bias) = (&weights.scale()[first..], &weights.bias()[first..]);
        let ending = Ending::to_levels(scale, bias, out, stride, padded, self.blank());
        // SAFETY: the result has room for so many rows of whole panels.
        unsafe { self.multiply_into(rows, weights, panels, ending) };
    }

    /// # Safety
    /// `ending` must describe a result with room for as many rows as there are, and for the columns of `panels`, of which
    /// there is at least one.
    unsafe fn multiply_into(self, rows: View, weights: &Packed, panels: Range<usize>, ending: Ending) {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_variables))]
        let count = rows.count();
        assert_eq!(rows.depth, weights.padded_depth(), "depth of the activations and of the weights");
        let (form, signed) = (rows.form, self.form() == Form::Signed);
        assert!(form == self.form() || matches!(form, Form::Positive | Form::Levels), "activations for another kernel");
        let first = panels.start * PANEL;
        let start = match form {
            Form::Offset => weights.correction()[first..].as_ptr(),
            Form::Levels if signed => weights.lift()[first..].as_ptr(),
            _ => std::ptr::null(),
        };
        let tile = Tile {
            rows: rows.bytes.as_ptr(),
            depth: rows.depth,
            weights: weights.panel(panels.start),
            start,
            #[cfg(target_arch = "aarch64")]
            known: bounds::Known::new(self, rows, weights, panels.start, !ending.levels.is_null()),
            ending: Ending { row_scale: rows.scale.as_ptr(), scaled: rows.scaled, ..ending },
        };
        // SAFETY: every pointer of `tile` was taken from a slice whose length was checked above against `count`, `panels`,
        // `depth` or, by the caller, against `ending` (`Packed` pads its own arrays to whole panels); and `self` proves
        // that the machine has the instructions.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Set::Avx512Vnni => avx512_vnni::multiply(tile, count, panels.len()),
                #[cfg(target_arch = "x86_64")]
                Set::AvxVnni => avx_vnni::multiply(tile, count, panels.len()),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => avx2::multiply(tile, count, panels.len()),
                #[cfg(target_arch = "aarch64")]
                Set::NeonI8mm => neon_i8mm::multiply(tile, count, panels.len()),
                #[cfg(target_arch = "aarch64")]
                Set::NeonDot => neon_dot::multiply(tile, count, panels.len()),
                #[cfg(target_arch = "aarch64")]
                Set::Neon => neon::multiply(tile, count, panels.len()),
                Set::Plain => plain::multiply(rows, weights, panels, tile),
            }
        }
    }
}

/// The raw view of one product that [`Kernel::multiply`] has checked.
#[derive(Clone, Copy)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
struct Tile {
    /// `count` rows of `depth` bytes.
    rows: *const u8,
    /// Bytes in a row, a multiple of 4.
    depth: usize,
    /// Whole panels, one after another, `depth * PANEL` bytes each.
    weights: *const i8,
    /// What the sums start from, per column; null for 0.
    start: *const i32,
    #[cfg(target_arch = "aarch64")]
    known: bounds::Known,
    ending: Ending,
}

#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
impl Tile {
    /// What the sums of 16 columns start from.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    fn start(&self) -> *const i32 {
        const NONE: [i32; PANEL] = [0; PANEL];
        if self.start.is_null() { NONE.as_ptr() } else { self.start }
    }

    /// The same product from row `row` on.
    ///
    /// # Safety
    /// `row` must be below the number of rows.
    unsafe fn at_row(self, row: usize) -> Self {
        // SAFETY: the arrays hold that many rows, as the caller promises.
        unsafe { Tile { rows: self.rows.add(row * self.depth), ending: self.ending.at_row(row), ..self } }
    }

    /// The same product from panel `panel` on.
    ///
    /// # Safety
    /// `panel` must be below the number of panels.
    #[inline(always)]
    unsafe fn at_panel(self, panel: usize) -> Self {
        let column = panel * PANEL;
        // SAFETY: the arrays hold that many panels, as the caller promises.
        unsafe {
            Tile {
                weights: self.weights.add(column * self.depth),
                start: if self.start.is_null() { self.start } else { self.start.add(column) },
                #[cfg(target_arch = "aarch64")]
                known: self.known.at_panel(panel),
                ending: self.ending.at_column(column),
                ..self
            }
        }
    }
}

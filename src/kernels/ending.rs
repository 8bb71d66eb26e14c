//! What follows a product: scales, bias, activation, residual, and the store.

use std::array::from_fn;
use std::mem::MaybeUninit;

use super::lanes::{Lanes, unroll};
use super::levels::TOP_LEVEL;
use super::{Activation, Kernel, PANEL, activate, add};

/// What follows a product: `activation(x W + b) + residual`.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// Applied first.
    pub activation: Activation,
    /// Added then: laid out as the result is, from the same place on; empty for none.
    pub residual: &'a [f32],
}

impl Finish<'_> {
    /// Nothing but scales and bias.
    pub const NONE: Finish<'static> = Finish { activation: Activation::None, residual: &[] };

    pub(super) fn check(&self, rows: usize, columns: usize, out: &[f32], stride: usize) {
        let needed = (rows - 1) * stride + columns;
        assert!(stride >= columns && out.len() >= needed, "room for the result");
        assert!(self.residual.is_empty() || self.residual.len() >= needed, "as much residual as result");
    }

    /// The part that kernels do themselves, for a result at `out` with `columns` columns, whose scales and biases begin at
    /// `scale` and `bias`.
    pub(super) fn ending(&self, scale: &[f32], bias: &[f32], out: &mut [f32], stride: usize, columns: usize) -> Ending {
        let alone = self.residual.is_empty() || self.activation.is_curve();
        Ending {
            row_scale: std::ptr::null(),
            scaled: false,
            scale: scale.as_ptr(),
            bias: bias.as_ptr(),
            high: self.activation.high(),
            residual: if alone { std::ptr::null() } else { self.residual.as_ptr() },
            out: out.as_mut_ptr(),
            levels: std::ptr::null_mut(),
            blank: 0,
            stride,
            columns,
        }
    }

    /// The part that they leave.
    pub(super) fn rest(&self, kernel: Kernel, rows: usize, columns: usize, out: &mut [f32], stride: usize) {
        if !self.activation.is_curve() {
            return;
        }
        for at in (0..rows).map(|row| row * stride) {
            activate(kernel, &mut out[at..at + columns], self.activation);
            if !self.residual.is_empty() {
                add(kernel, &mut out[at..at + columns], &self.residual[at..at + columns]);
            }
        }
    }
}

/// The raw view of a checked [`Finish`].
#[derive(Clone, Copy)]
pub(super) struct Ending {
    /// For sums of whole numbers; null for others.
    pub(super) row_scale: *const f32,
    /// Whether one of these is not 1.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(super) scaled: bool,
    /// Padded to whole panels, as are biases.
    pub(super) scale: *const f32,
    pub(super) bias: *const f32,
    /// Results are held in `0..=high`, if at all.
    pub(super) high: Option<f32>,
    /// Laid out as `out`; null for none.
    pub(super) residual: *const f32,
    pub(super) out: *mut f32,
    /// Where results go as levels, whole panels of them; null where they go to `out` as floats.
    pub(super) levels: *mut u8,
    /// The byte of level 0.
    pub(super) blank: u8,
    pub(super) stride: usize,
    /// Columns to write.
    pub(super) columns: usize,
}

impl Ending {
    /// For results in steps that become levels. `columns` are whole panels.
    pub(super) fn to_levels(
        scale: &[f32],
        bias: &[f32],
        out: &mut [u8],
        stride: usize,
        columns: usize,
        blank: u8,
    ) -> Self {
        Ending {
            row_scale: std::ptr::null(),
            scaled: false,
            scale: scale.as_ptr(),
            bias: bias.as_ptr(),
            high: None,
            residual: std::ptr::null(),
            out: std::ptr::null_mut(),
            levels: out.as_mut_ptr(),
            blank,
            stride,
            columns,
        }
    }

    /// The same from row `row` on.
    ///
    /// # Safety
    /// `row` must be below the number of rows.
    pub(super) unsafe fn at_row(self, row: usize) -> Self {
        // SAFETY: the arrays hold that many rows, as the caller promises.
        unsafe {
            let row_scale = if self.row_scale.is_null() { self.row_scale } else { self.row_scale.add(row) };
            Ending { row_scale, ..self.moved(row * self.stride) }
        }
    }

    /// The same from column `column` on.
    ///
    /// # Safety
    /// `column` must be below the number of columns.
    pub(super) unsafe fn at_column(self, column: usize) -> Self {
        // SAFETY: the arrays hold that many columns, as the caller promises.
        unsafe {
            Ending {
                scale: self.scale.add(column),
                bias: self.bias.add(column),
                columns: self.columns - column,
                ..self.moved(column)
            }
        }
    }

    unsafe fn moved(self, by: usize) -> Self {
        // SAFETY: `by` is the place of a result, and the residual is laid out as the result is.
        unsafe {
            let residual = if self.residual.is_null() { self.residual } else { self.residual.add(by) };
            if !self.levels.is_null() {
                return Ending { levels: self.levels.add(by), ..self };
            }
            Ending { residual, out: self.out.add(by), ..self }
        }
    }

    /// Finishes `ROWS` rows (at most 6) of `WIDTH` registers of sums without a way through memory; `SCALED` where rows have
    /// scales.
    ///
    /// # Safety
    /// The rows and the columns, all of them, must be of this result, and the machine must have the instructions of `V`.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(super) unsafe fn finish<V: Lanes, const SCALED: bool, const ROWS: usize, const WIDTH: usize>(
        self,
        sums: [[V; WIDTH]; ROWS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.levels.is_null() {
                return self.finish_levels::<V, SCALED, ROWS, WIDTH>(sums);
            }
            match (self.high.is_some(), self.residual.is_null()) {
                (false, true) => self.finish_as::<V, SCALED, false, false, ROWS, WIDTH>(sums),
                (false, false) => self.finish_as::<V, SCALED, false, true, ROWS, WIDTH>(sums),
                (true, true) => self.finish_as::<V, SCALED, true, false, ROWS, WIDTH>(sums),
                (true, false) => self.finish_as::<V, SCALED, true, true, ROWS, WIDTH>(sums),
            }
        }
    }

    /// The same of sums of whole numbers, as floats.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(super) unsafe fn finish_sums<V: Lanes, const ROWS: usize, const WIDTH: usize>(self, sums: [[V; WIDTH]; ROWS]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.scaled {
                true => self.finish::<V, true, ROWS, WIDTH>(sums),
                false => self.finish::<V, false, ROWS, WIDTH>(sums),
            }
        }
    }

    #[inline(always)]
    unsafe fn finish_as<
        V: Lanes,
        const SCALED: bool,
        const HOLD: bool,
        const ADD: bool,
        const ROWS: usize,
        const WIDTH: usize,
    >(
        self,
        sums: [[V; WIDTH]; ROWS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let high = V::splat(self.high.unwrap_or_default());
            let load = |v: usize| {
                let column = v * V::COUNT;
                (V::load(self.scale.add(column)), V::load(self.bias.add(column)))
            };
            // A wide block has no registers left to keep them in.
            let kept: [_; WIDTH] = from_fn(load);
            unroll! { M in 0 1 2 3 4 5 => {
                if M < ROWS {
                    let row = if SCALED { V::splat(*self.row_scale.add(M)) } else { V::splat(1.0) };
                    // All of a row before its stores, after which scales would be read again.
                    let y: [V; WIDTH] = from_fn(|v| {
                        let (scale, bias) = if WIDTH <= 2 { kept[v] } else { load(v) };
                        let y = sums[M][v].fused(if SCALED { row.times(scale) } else { scale }, bias);
                        let y = if HOLD { y.hold(high) } else { y };
                        if ADD { y.plus(V::load(self.residual.add(M * self.stride + v * V::COUNT))) } else { y }
                    });
                    for (v, y) in y.into_iter().enumerate() {
                        y.store(self.out.add(M * self.stride + v * V::COUNT));
                    }
                }
            }}
        }
    }

    #[inline(always)]
    unsafe fn finish_levels<V: Lanes, const SCALED: bool, const ROWS: usize, const WIDTH: usize>(
        self,
        sums: [[V; WIDTH]; ROWS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let y = |m: usize, v: usize| {
                let column = v * V::COUNT;
                let (scale, bias) = (V::load(self.scale.add(column)), V::load(self.bias.add(column)));
                sums[m][v].fused(if SCALED { V::splat(*self.row_scale.add(m)).times(scale) } else { scale }, bias)
            };
            unroll! { M in 0 1 2 3 4 5 => {
                if M < ROWS && (WIDTH > 1 || M == 0) {
                    let to = self.levels.add(M * self.stride);
                    match (WIDTH, ROWS) {
                        (4, _) => V::levels(from_fn(|v| y(M, v % WIDTH)), self.blank, to, V::COUNT),
                        (1, 4) => V::levels(from_fn(|m| y(m % ROWS, 0)), self.blank, to, self.stride),
                        // Levels have whole panels.
                        _ => unreachable!(),
                    }
                }
            }}
        }
    }

    /// The same for a block of `rows` rows in `spare`, [`PANEL`] columns each, where fewer columns are left; [`take`] then
    /// copies them out.
    ///
    /// [`take`]: Ending::take
    ///
    /// # Safety
    /// The rows must be of this result.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(super) unsafe fn spared(self, rows: usize, spare: &mut Spare) -> Self {
        let residual = if self.residual.is_null() { self.residual } else { spare.residual.as_ptr().cast() };
        // SAFETY: no more than `columns` floats are read of each row.
        unsafe {
            if !self.residual.is_null() {
                for (m, to) in spare.residual[..rows].iter_mut().enumerate() {
                    to.fill(MaybeUninit::new(0.0));
                    self.residual.add(m * self.stride).copy_to_nonoverlapping(to.as_mut_ptr().cast(), self.columns);
                }
            }
        }
        Ending { residual, out: spare.out.as_mut_ptr().cast(), stride: PANEL, columns: PANEL, ..self }
    }

    /// Copies what was finished in `spare` to where it belongs.
    ///
    /// # Safety
    /// The rows must be of this result.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(super) unsafe fn take(self, rows: usize, spare: &Spare) {
        for (m, from) in spare.out[..rows].iter().enumerate() {
            // SAFETY: no more than `columns` floats are written to each row.
            unsafe { self.out.add(m * self.stride).copy_from_nonoverlapping(from.as_ptr().cast(), self.columns) };
        }
    }

    /// Finishes `rows` rows of `width` sums (a multiple of 16), row after row in `sums`: `i32` if `INT`, else `f32`.
    ///
    /// # Safety
    /// The rows and the first column must be of this result, and the machine must have the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn write<V: Lanes, const INT: bool>(self, sums: *const u32, rows: usize, width: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.levels.is_null() {
                return self.write_levels::<V, INT>(sums, rows, width);
            }
            match (self.high.is_some(), self.residual.is_null()) {
                (false, true) => self.write_as::<V, INT, false, false>(sums, rows, width),
                (false, false) => self.write_as::<V, INT, false, true>(sums, rows, width),
                (true, true) => self.write_as::<V, INT, true, false>(sums, rows, width),
                (true, false) => self.write_as::<V, INT, true, true>(sums, rows, width),
            }
        }
    }

    #[inline(always)]
    unsafe fn write_levels<V: Lanes, const INT: bool>(self, sums: *const u32, rows: usize, width: usize) {
        // SAFETY: scales, biases and rows of levels are padded to whole panels.
        unsafe {
            for column in (0..width).step_by(V::COUNT) {
                let (scale, bias) = (V::load(self.scale.add(column)), V::load(self.bias.add(column)));
                for m in 0..rows {
                    let sum = sums.add(m * width + column);
                    let sum = if INT { V::from_whole(sum.cast()) } else { V::load(sum.cast()) };
                    let scale = if INT { V::splat(*self.row_scale.add(m)).times(scale) } else { scale };
                    let y = sum.fused(scale, bias).above(V::splat(0.0)).below(V::splat(TOP_LEVEL));
                    y.bytes(V::splat(1.0), self.blank, self.levels.add(m * self.stride + column));
                }
            }
        }
    }

    /// The same, with what does not change from value to value as constants.
    #[inline(always)]
    unsafe fn write_as<V: Lanes, const INT: bool, const HOLD: bool, const ADD: bool>(
        self,
        sums: *const u32,
        rows: usize,
        width: usize,
    ) {
        // SAFETY: scales and biases are padded to whole panels; no more than `columns` values are written.
        unsafe {
            let high = V::splat(self.high.unwrap_or_default());
            let mut column = 0;
            while column < width.min(self.columns) {
                let (scale, bias) = (V::load(self.scale.add(column)), V::load(self.bias.add(column)));
                let left = self.columns - column;
                for m in 0..rows {
                    let sum = sums.add(m * width + column);
                    let sum = if INT { V::from_whole(sum.cast()) } else { V::load(sum.cast()) };
                    let scale = if INT { V::splat(*self.row_scale.add(m)).times(scale) } else { scale };
                    let mut y = sum.fused(scale, bias);
                    if HOLD {
                        y = y.hold(high);
                    }
                    let at = m * self.stride + column;
                    if left >= V::COUNT {
                        if ADD {
                            y = y.plus(V::load(self.residual.add(at)));
                        }
                        y.store(self.out.add(at));
                    } else {
                        if ADD {
                            y = y.plus(V::load_some(self.residual.add(at), left));
                        }
                        y.store_some(self.out.add(at), left);
                    }
                }
                column += V::COUNT;
            }
        }
    }
}

/// Room for a block of at most 6 rows of the last panel.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(super) struct Spare {
    out: [[MaybeUninit<f32>; PANEL]; 6],
    residual: [[MaybeUninit<f32>; PANEL]; 6],
}

#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
impl Spare {
    pub(super) const NEW: Spare =
        Spare { out: [[MaybeUninit::uninit(); PANEL]; 6], residual: [[MaybeUninit::uninit(); PANEL]; 6] };
}

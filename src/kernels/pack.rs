//! Weights in the order in which kernels read them: panels of 16 columns, in each panel groups of 4 rows, in each group
//! the 4 bytes of a column side by side. A group is 64 bytes and lies on a cache line.

use super::Kernel;
#[cfg(target_arch = "aarch64")]
use super::bounds::Bounds;
use super::lanes::{Lanes, multilanes};
use super::levels::LIFT;
use super::quantise::{Rows, SMALLEST, byte};

/// Columns in a panel.
pub const PANEL: usize = 16;
/// Rows in a group.
pub(super) const GROUP: usize = 4;
/// The most rows of a weight matrix: above it a sum of int8 products could leave 32 bits.
pub const MAX_DEPTH: usize = 1 << 16;

/// One group: 4 rows of 16 columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i8; PANEL * GROUP]);

/// A packed `[depth, columns]` int8 matrix with a scale and a bias per column.
#[derive(Clone, Default)]
pub struct Packed {
    depth: usize,
    columns: usize,
    lines: Vec<Line>,
    scale: Vec<f32>,
    bias: Vec<f32>,
    correction: Vec<i32>,
    lift: Vec<i32>,
    #[cfg(target_arch = "aarch64")]
    bounds: std::sync::OnceLock<Option<Bounds>>,
}

impl Line {
    /// Of at most 4 rows of `columns` bytes, the columns from `first` on; 0 where there is none.
    #[inline]
    fn of(rows: &[i8], columns: usize, first: usize) -> Self {
        let mut four = [[0; PANEL]; GROUP];
        for (to, row) in four.iter_mut().zip(rows.chunks_exact(columns)) {
            match row[first..].first_chunk() {
                Some(whole) => *to = *whole,
                None => to[..columns - first].copy_from_slice(&row[first..]),
            }
        }
        let mut line = Line([0; PANEL * GROUP]);
        for (n, column) in line.0.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            *column = [four[0][n], four[1][n], four[2][n], four[3][n]];
        }
        line
    }
}

impl Packed {
    /// Packs `weight`, `[depth, columns]` row-major. `bias` empty means none.
    ///
    /// # Errors
    /// In words, when the shapes differ or a scale or bias cannot be right.
    pub fn new(weight: &[i8], depth: usize, columns: usize, scale: &[f32], bias: &[f32]) -> Result<Self, String> {
        check(weight, depth, columns, scale, bias)?;
        let mut packed = Packed::default();
        packed.shape(depth, columns);
        packed.changed();
        packed.scale[..columns].copy_from_slice(scale);
        packed.bias[..bias.len()].copy_from_slice(bias);
        let groups = depth.div_ceil(GROUP);
        for (group, rows) in weight.chunks(GROUP * columns).enumerate() {
            let lines = packed.lines[group..].iter_mut().step_by(groups);
            let sums = packed.lift.chunks_exact_mut(PANEL);
            for ((line, sums), first) in lines.zip(sums).zip((0..columns).step_by(PANEL)) {
                *line = Line::of(rows, columns, first);
                add_columns(&line.0, sums);
            }
        }
        for (correction, lift) in packed.correction.iter_mut().zip(&mut packed.lift) {
            (*correction, *lift) = (-128 * *lift, LIFT * *lift);
        }
        Ok(packed)
    }

    /// Quantises and packs a float matrix `[depth, columns]` whose rows lie `stride` floats apart, each column
    /// symmetric over its largest finite magnitude. NaN becomes 0 and an infinity the largest finite value of its column.
    /// The storage of `self` is reused.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn repack(&mut self, kernel: Kernel, values: &[f32], stride: usize, depth: usize, columns: usize) {
        assert!(columns > 0 && depth > 0 && stride >= columns && values.len() >= (depth - 1) * stride + columns);
        self.shape(depth, columns);
        // SAFETY: the shapes were checked, `shape` made room, and `kernel` proves the instruction set.
        unsafe { repack(kernel, self, values, stride) };
    }

    /// Quantises and packs the transpose of a float matrix `[columns, depth]` whose rows lie `stride` floats apart, each row
    /// as [`Rows::quantise`] does; what it stands for is multiplied by `factor`. The storage of `self` and of `rows` is
    /// reused.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    #[allow(clippy::too_many_arguments)]
    pub fn repack_transposed(
        &mut self,
        kernel: Kernel,
        values: &[f32],
        stride: usize,
        depth: usize,
        columns: usize,
        factor: f32,
        rows: &mut Rows,
    ) {
        assert!(columns > 0 && depth > 0 && stride >= depth && values.len() >= (columns - 1) * stride + depth);
        self.shape(depth, columns);
        let groups = depth.div_ceil(GROUP);
        for (n, row) in values.chunks(stride).take(columns).enumerate() {
            let (bytes, scale) = rows.quantise_one(kernel, &row[..depth]);
            self.scale[n] = scale * factor;
            self.correction[n] = -128 * bytes.iter().map(|b| i32::from(*b as i8)).sum::<i32>();
            let lines = &mut self.lines[n / PANEL * groups..][..groups];
            for (line, four) in lines.iter_mut().zip(bytes.chunks_exact(GROUP)) {
                let place = n % PANEL * GROUP;
                line.0[place..place + GROUP].copy_from_slice(&[0, 1, 2, 3].map(|k| four[k] as i8));
            }
        }
    }

    /// The same with rows of zeros below, so that there are `depth`.
    ///
    /// # Panics
    /// When there are more already.
    #[must_use]
    pub fn deepened(&self, depth: usize) -> Self {
        assert!(self.depth <= depth && depth <= MAX_DEPTH.next_multiple_of(PANEL), "{depth} rows");
        let groups = [self.depth, depth].map(|depth| depth.div_ceil(GROUP));
        let mut lines = vec![Line([0; PANEL * GROUP]); groups[1] * self.panels()];
        for (to, from) in lines.chunks_exact_mut(groups[1]).zip(self.lines.chunks_exact(groups[0])) {
            to[..groups[0]].copy_from_slice(from);
        }
        let mut packed = Packed { depth, lines, ..self.clone() };
        packed.changed();
        packed
    }

    /// The same matrix with row `order(k)` as row `k`.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn reordered(&self, order: impl Fn(usize) -> usize) -> Self {
        let mut other = self.clone();
        for k in 0..self.depth {
            let from = order(k);
            assert!(from < self.depth, "row {from} of {}", self.depth);
            (0..self.columns).for_each(|n| *other.at(k, n) = self.get(from, n));
        }
        other.changed();
        other
    }

    /// The same matrix whose results are in units of `step`.
    ///
    /// # Panics
    /// When the step is not above 0.
    #[must_use]
    pub fn in_steps(&self, step: f32) -> Self {
        assert!(step > 0.0, "a step of {step}");
        let [scale, bias] = [&self.scale, &self.bias].map(|values| values.iter().map(|v| v / step).collect());
        let mut packed = Packed { scale, bias, ..self.clone() };
        packed.changed();
        packed
    }

    /// The same matrix for activations in units of `step`.
    ///
    /// # Panics
    /// When the step is not above 0.
    #[must_use]
    pub fn of_steps(&self, step: f32) -> Self {
        assert!(step > 0.0, "a step of {step}");
        let scale = self.scale.iter().map(|v| step * v).collect();
        let mut packed = Packed { scale, ..self.clone() };
        packed.changed();
        packed
    }

    /// Rows of the matrix.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Rows as stored: `depth` rounded up to a whole group.
    pub fn padded_depth(&self) -> usize {
        self.depth.div_ceil(GROUP) * GROUP
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of 16 columns, the last one padded with zeros.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Scale of each column, padded to whole panels.
    pub(super) fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// Bias of each column, padded to whole panels.
    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// `-128` times the sum of each column, padded to whole panels.
    pub(super) fn correction(&self) -> &[i32] {
        &self.correction
    }

    /// 127 times the sum of each column, padded to whole panels.
    pub(super) fn lift(&self) -> &[i32] {
        &self.lift
    }

    /// What ARM kernels know of the weights; `None` for a matrix that was packed at run time.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn bounds(&self) -> Option<&Bounds> {
        let groups = self.depth.div_ceil(GROUP);
        self.bounds.get_or_init(|| Some(Bounds::new(&self.lines, groups, &self.scale, &self.bias))).as_ref()
    }

    /// What is known of the weights is no longer.
    fn changed(&mut self) {
        #[cfg(target_arch = "aarch64")]
        {
            self.bounds = std::sync::OnceLock::new();
        }
    }

    /// The bytes from panel `panel` on.
    pub(super) fn panel(&self, panel: usize) -> *const i8 {
        self.lines[panel * self.depth.div_ceil(GROUP)..].as_ptr().cast()
    }

    /// The groups of all panels, and how many each has.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn all_lines(&self) -> (&[Line], usize) {
        (&self.lines, self.depth.div_ceil(GROUP))
    }

    /// The groups of panel `panel`.
    pub(super) fn lines(&self, panel: usize) -> &[Line] {
        let groups = self.depth.div_ceil(GROUP);
        &self.lines[panel * groups..][..groups]
    }

    /// The weight at row `k`, column `n`; `k` may lie in the padding.
    pub(super) fn get(&self, k: usize, n: usize) -> i8 {
        self.lines[(n / PANEL) * self.depth.div_ceil(GROUP) + k / GROUP].0[(n % PANEL) * GROUP + k % GROUP]
    }

    fn at(&mut self, k: usize, n: usize) -> &mut i8 {
        &mut self.lines[(n / PANEL) * self.depth.div_ceil(GROUP) + k / GROUP].0[(n % PANEL) * GROUP + k % GROUP]
    }

    /// Sets the shape, with every value 0.
    fn shape(&mut self, depth: usize, columns: usize) {
        let padded = columns.div_ceil(PANEL) * PANEL;
        self.depth = depth;
        self.columns = columns;
        self.lines.clear();
        self.lines.resize(depth.div_ceil(GROUP) * padded / PANEL, Line([0; PANEL * GROUP]));
        self.scale.clear();
        self.scale.resize(padded, 0.0);
        self.bias.clear();
        self.bias.resize(padded, 0.0);
        self.correction.clear();
        self.correction.resize(padded, 0);
        self.lift.clear();
        self.lift.resize(padded, 0);
        #[cfg(target_arch = "aarch64")]
        {
            self.bounds = std::sync::OnceLock::from(None);
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed[{}, {}]", self.depth, self.columns)
    }
}

/// Adds the bytes of each column of a group to its sum.
#[inline(always)]
pub(super) fn add_columns(group: &[i8], sums: &mut [i32]) {
    for (sum, column) in sums.iter_mut().zip(group.as_chunks::<GROUP>().0) {
        *sum += column.iter().map(|byte| i32::from(*byte)).sum::<i32>();
    }
}

/// What a weight matrix must be, whatever its layout. A scale of 0 is sound: its column is zeros.
pub fn check(weight: &[i8], depth: usize, columns: usize, scale: &[f32], bias: &[f32]) -> Result<(), String> {
    if depth == 0 || columns == 0 {
        return Err(format!("the weight is empty ([{depth}, {columns}])"));
    }
    if depth > MAX_DEPTH {
        return Err(format!("the weight has {depth} rows; at most {MAX_DEPTH} can be summed in 32 bits"));
    }
    if depth.checked_mul(columns) != Some(weight.len()) {
        return Err(format!("the weight has {} values, not {depth} x {columns}", weight.len()));
    }
    if scale.len() != columns {
        return Err(format!("there are {} scales for {columns} columns", scale.len()));
    }
    if !bias.is_empty() && bias.len() != columns {
        return Err(format!("there are {} biases for {columns} columns", bias.len()));
    }
    if let Some(n) = scale.iter().position(|s| !s.is_finite() || *s < 0.0) {
        return Err(format!("the scale of column {n} is {}; it must be finite and not negative", scale[n]));
    }
    if let Some(n) = bias.iter().position(|b| !b.is_finite()) {
        return Err(format!("the bias of column {n} is {}; it must be finite", bias[n]));
    }
    Ok(())
}

#[inline(always)]
unsafe fn repack_body<V: Lanes>(packed: &mut Packed, values: &[f32], stride: usize) {
    let (depth, columns) = (packed.depth, packed.columns);
    let groups = depth.div_ceil(GROUP);
    for first in (0..columns).step_by(V::COUNT) {
        let count = V::COUNT.min(columns - first);
        // SAFETY: `count` columns are left from `first` on; a line has room for a register of columns, because PANEL is a
        // multiple of COUNT; the caller has the instruction set.
        unsafe {
            let load = |k: usize| {
                let from = values.as_ptr().add(k * stride + first);
                if count == V::COUNT { V::load(from) } else { V::load_some(from, count) }
            };
            let mut most = V::splat(0.0);
            for k in 0..depth {
                most = load(k).magnitude(most);
            }
            let strange = most.most() >= f32::INFINITY.to_bits();
            let mut largest = [0f32; PANEL];
            most.store(largest.as_mut_ptr());
            if strange {
                for (n, largest) in largest[..count].iter_mut().enumerate() {
                    let column = (0..depth).map(|k| values[k * stride + first + n].abs());
                    *largest = column.filter(|v| v.is_finite()).fold(0.0, f32::max);
                }
            }
            let mut inverse = [0f32; PANEL];
            for (n, (inverse, largest)) in inverse.iter_mut().zip(&largest).take(count).enumerate() {
                if *largest >= SMALLEST {
                    *inverse = 127.0 / *largest;
                    packed.scale[first + n] = *largest / 127.0;
                }
            }
            let lines = &mut packed.lines[first / PANEL * groups..][..groups];
            let factor = V::load(inverse.as_ptr());
            let mut sums = [0i32; PANEL];
            for (group, line) in lines.iter_mut().enumerate() {
                let k = group * GROUP;
                if strange {
                    for n in 0..count {
                        for k in k..depth.min(k + GROUP) {
                            let q = byte(values[k * stride + first + n] * inverse[n]);
                            line.0[(first % PANEL + n) * GROUP + k % GROUP] = q;
                        }
                    }
                } else {
                    let row = |i: usize| if k + i < depth { load(k + i) } else { V::splat(0.0) };
                    let rows = [row(0), row(1), row(2), row(3)];
                    V::interleave(rows, factor, line.0.as_mut_ptr().add(first % PANEL * GROUP));
                }
                let bytes = &line.0[first % PANEL * GROUP..][..V::COUNT * GROUP];
                add_columns(bytes, &mut sums);
            }
            for (correction, sum) in packed.correction[first..].iter_mut().zip(&sums).take(count) {
                *correction = -128 * sum;
            }
        }
    }
}

multilanes! {
    unsafe fn repack(packed: &mut Packed, values: &[f32], stride: usize) = repack_body
}

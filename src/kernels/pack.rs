//! Weights in the order in which kernels read them: panels of 16 columns, in each panel groups of 4 rows, in each group
//! the 4 bytes of a column side by side. A group is 64 bytes and lies on a cache line.

/// Columns in a panel.
pub const PANEL: usize = 16;
/// Rows in a group.
pub(super) const GROUP: usize = 4;
/// The most rows of a weight matrix: above it a sum of int8 products could leave 32 bits.
pub const MAX_DEPTH: usize = 1 << 16;

/// One group: 4 rows of 16 columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; PANEL * GROUP]);

/// A packed `[depth, columns]` int8 matrix with a scale and a bias per column.
#[derive(Clone, Default)]
pub struct Packed {
    depth: usize,
    columns: usize,
    lines: Vec<Line>,
    scale: Vec<f32>,
    bias: Vec<f32>,
    correction: Vec<i32>,
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
        packed.scale[..columns].copy_from_slice(scale);
        packed.bias[..bias.len()].copy_from_slice(bias);
        for (k, row) in weight.chunks_exact(columns).enumerate() {
            for (n, value) in row.iter().enumerate() {
                *packed.at(k, n) = *value;
                packed.correction[n] -= 128 * i32::from(*value);
            }
        }
        Ok(packed)
    }

    /// Quantises and packs a float matrix `[depth, columns]` whose rows lie `stride` floats apart, each column
    /// symmetric over its largest finite magnitude. NaN becomes 0 and an infinity the largest finite value of its column.
    /// The storage of `self` is reused. For [`Form::Positive`](super::Form::Positive) rows only: the correction stays 0.
    pub fn repack(&mut self, values: &[f32], stride: usize, depth: usize, columns: usize) {
        assert!(columns > 0 && depth > 0 && stride >= columns && values.len() >= (depth - 1) * stride + columns);
        self.shape(depth, columns);
        let rows = || values.chunks(stride).take(depth).map(|row| &row[..columns]);
        let scale = &mut self.scale[..columns];
        for row in rows() {
            for (s, v) in scale.iter_mut().zip(row) {
                let magnitude = v.abs();
                *s = if magnitude < f32::INFINITY { s.max(magnitude) } else { *s };
            }
        }
        // The bias array holds the reciprocals while the values are quantised.
        for (s, inverse) in scale.iter_mut().zip(&mut self.bias) {
            *inverse = if *s >= super::quantise::SMALLEST { 127.0 / *s } else { 0.0 };
            *s = if *s >= super::quantise::SMALLEST { *s / 127.0 } else { 0.0 };
        }
        let groups = depth.div_ceil(GROUP);
        for (panel, lines) in self.lines.chunks_exact_mut(groups).enumerate() {
            let first = panel * PANEL;
            let width = PANEL.min(columns - first);
            let mut inverse = [0f32; PANEL];
            inverse[..width].copy_from_slice(&self.bias[first..first + width]);
            for (group, line) in lines.iter_mut().enumerate() {
                for k in 0..GROUP.min(depth - group * GROUP) {
                    let row = &values[(group * GROUP + k) * stride + first..][..width];
                    let mut q = [0i8; PANEL];
                    // The same loop twice: over a whole panel its length is known, and it vectorises.
                    if let Ok(row) = <&[f32; PANEL]>::try_from(row) {
                        for (q, (v, inverse)) in q.iter_mut().zip(row.iter().zip(&inverse)) {
                            *q = super::quantise::byte(v * inverse);
                        }
                    } else {
                        for (q, (v, inverse)) in q.iter_mut().zip(row.iter().zip(&inverse)) {
                            *q = super::quantise::byte(v * inverse);
                        }
                    }
                    for (n, q) in q.iter().enumerate() {
                        line.0[n * GROUP + k] = *q;
                    }
                }
            }
        }
        self.bias.fill(0.0);
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

    /// The bytes from panel `panel` on.
    pub(super) fn panel(&self, panel: usize) -> *const i8 {
        self.lines[panel * self.depth.div_ceil(GROUP)..].as_ptr().cast()
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
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed[{}, {}]", self.depth, self.columns)
    }
}

/// What a weight matrix must be, whatever its layout.
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

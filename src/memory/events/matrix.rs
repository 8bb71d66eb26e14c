//! Embeddings of one bundle in memory, as int8 in the layout of the kernels.
//!
//! Events lie in chunks of up to [`CHUNK`], the newest events in `tail`, which is still in float. The matrix reaches back
//! to the event `from`; what is older was not asked for yet.

use crate::kernels::{Finish, Kernel, Packed, Rows};

use super::best::Best;

/// Embeddings in a chunk.
pub(super) const CHUNK: usize = 4_096;

/// What a search must know of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub(super) id: u64,
    pub(super) began_ms: u64,
    /// Numbers of the names of its trigger and its camera.
    pub(super) trigger: u32,
    pub(super) camera: u32,
}

/// Which events count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Want {
    pub(super) since_ms: u64,
    pub(super) before: Option<u64>,
    pub(super) trigger: Option<u32>,
    pub(super) camera: Option<u32>,
}

/// The embeddings from one event on.
pub(super) struct Matrix {
    /// Number of the bundle's name.
    pub(super) bundle: i64,
    /// Floats in an embedding.
    pub(super) width: usize,
    /// The oldest event that the matrix knows of; `u64::MAX` at first.
    pub(super) from: u64,
    kernel: Kernel,
    chunks: Vec<Chunk>,
    tail: Batch,
    scratch: Rows,
}

/// Embeddings in float, on their way into a chunk.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) marks: Vec<Mark>,
    pub(super) floats: Vec<f32>,
}

struct Chunk {
    /// An id of 0 stands for an event that is gone.
    marks: Vec<Mark>,
    packed: Packed,
    /// The largest id.
    newest: u64,
    /// The largest distance between an embedding and what its bytes stand for.
    residue: f32,
}

impl Want {
    /// No event with a smaller id counts: an id's time is never before the event's.
    pub(super) fn least_id(&self) -> u64 {
        self.since_ms.saturating_mul(2_048)
    }

    fn takes(&self, mark: &Mark) -> bool {
        mark.id != 0
            && mark.began_ms >= self.since_ms
            && self.before.is_none_or(|before| mark.id < before)
            && self.trigger.is_none_or(|trigger| mark.trigger == trigger)
            && self.camera.is_none_or(|camera| mark.camera == camera)
    }
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.floats.clear();
    }
}

impl Matrix {
    pub(super) fn new(bundle: i64, width: usize) -> Self {
        Self {
            bundle,
            width,
            from: u64::MAX,
            kernel: Kernel::chosen(),
            chunks: Vec::new(),
            tail: Batch::default(),
            scratch: Rows::default(),
        }
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> u64 {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.marks.len()).sum();
        (chunks * Self::bytes_each(self.width) + self.tail.marks.len() * (4 * self.width + size_of::<Mark>())) as u64
    }

    /// Bytes of an embedding in a chunk: its bytes, scale, bias, correction and mark.
    pub(super) fn bytes_each(width: usize) -> usize {
        width.next_multiple_of(4) + 12 + size_of::<Mark>()
    }

    /// Adds events that are all older than those it has.
    pub(super) fn older(&mut self, batch: &mut Batch) {
        if let Some(oldest) = batch.marks.iter().map(|mark| mark.id).min() {
            self.pack(batch);
            self.from = self.from.min(oldest);
        }
    }

    /// Adds one event. One from before the first it has is left to be loaded when it is asked for.
    pub(super) fn newer(&mut self, mark: Mark, floats: &[f32]) {
        if mark.id < self.from || floats.len() != self.width {
            return;
        }
        self.tail.marks.push(mark);
        self.tail.floats.extend_from_slice(floats);
        if self.tail.marks.len() == CHUNK {
            let mut tail = std::mem::take(&mut self.tail);
            self.pack(&mut tail);
        }
    }

    /// Forgets events; `ids` are sorted.
    pub(super) fn forget(&mut self, ids: &[u64]) {
        for chunk in &mut self.chunks {
            for mark in &mut chunk.marks {
                if ids.binary_search(&mark.id).is_ok() {
                    mark.id = 0;
                }
            }
        }
        self.chunks.retain(|chunk| chunk.marks.iter().any(|mark| mark.id != 0));
        for mark in &mut self.tail.marks {
            if ids.binary_search(&mark.id).is_ok() {
                mark.id = 0;
            }
        }
    }

    /// Offers what is wanted to `best`.
    pub(super) fn scan(&self, query: &[f32], want: &Want, best: &mut Best) {
        let mut rows = Rows::default();
        rows.quantise(self.kernel, query, self.width);
        let lost = residue(query);
        let length = query.iter().map(|x| x * x).sum::<f32>().sqrt();
        let mut scores = [0f32; CHUNK];
        for chunk in &self.chunks {
            if chunk.newest < want.least_id() {
                continue;
            }
            let scores = &mut scores[..chunk.marks.len()];
            let panels = 0..chunk.packed.panels();
            self.kernel.multiply(rows.view(), &chunk.packed, panels, Finish::NONE, scores, chunk.marks.len());
            // |qx - q'x'| <= |q - q'| |x'| + |q| |x - x'|, and the embedding x has length 1.
            best.allow(lost * (1.0 + chunk.residue) + length * chunk.residue + 1e-5);
            for (score, mark) in scores.iter().zip(&chunk.marks) {
                if *score >= best.floor() && want.takes(mark) {
                    best.offer(*score, mark.id);
                }
            }
        }
        for (mark, floats) in self.tail.marks.iter().zip(self.tail.floats.chunks_exact(self.width)) {
            if want.takes(mark) {
                best.offer(dot(query, floats), mark.id);
            }
        }
    }

    fn pack(&mut self, batch: &mut Batch) {
        let (count, width) = (batch.marks.len(), self.width);
        let mut packed = Packed::default();
        packed.repack_transposed(self.kernel, &batch.floats, width, width, count, 1.0, &mut self.scratch);
        self.chunks.push(Chunk {
            newest: batch.marks.iter().map(|mark| mark.id).max().unwrap_or(0),
            residue: batch.floats.chunks_exact(width).map(residue).fold(0.0, f32::max),
            marks: std::mem::take(&mut batch.marks),
            packed,
        });
        batch.floats.clear();
    }
}

/// Offers events that are not in memory.
pub(super) fn scan_batch(batch: &Batch, query: &[f32], want: &Want, best: &mut Best) {
    for (mark, floats) in batch.marks.iter().zip(batch.floats.chunks_exact(query.len())) {
        if want.takes(mark) {
            best.offer(dot(query, floats), mark.id);
        }
    }
}

/// The product, with eight sums so that the compiler can use registers.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// The distance between `x` and what remains of it in int8.
fn residue(x: &[f32]) -> f32 {
    let most = x.iter().fold(0f32, |most, value| most.max(value.abs()));
    if most < 1e-30 {
        return 0.0;
    }
    let (scale, inverse) = (most / 127.0, 127.0 / most);
    let square = |value: &f32| {
        let lost = value - (value * inverse).round_ties_even() * scale;
        lost * lost
    };
    x.iter().map(square).sum::<f32>().sqrt()
}

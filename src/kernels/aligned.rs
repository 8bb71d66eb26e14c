//! Floats that begin on a cache line: a register that lies across two lines costs twice.

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A buffer of floats on whole cache lines, which grows and never shrinks.
#[derive(Debug, Clone, Default)]
pub struct Floats(Vec<Line>);

impl Floats {
    /// `count` zeros, and room for no more.
    pub fn zeros(count: usize) -> Self {
        Floats(vec![Line([0.0; 16]); count.div_ceil(16)])
    }

    /// The floats there are, a whole number of lines.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a line is 16 floats and nothing else.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    /// The first `count` bytes, whatever they were.
    pub fn bytes(&mut self, count: usize) -> &mut [u8] {
        let floats = self.first(count.div_ceil(4));
        // SAFETY: a float is 4 bytes, and there are floats for `count` of them.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), count) }
    }

    /// The first `count` floats, whatever they were; new ones are 0.
    pub fn first(&mut self, count: usize) -> &mut [f32] {
        let lines = count.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a line is 16 floats and nothing else, and there are lines for `count` of them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), count) }
    }
}

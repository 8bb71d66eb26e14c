//! A stream of bytes, looked at from the front.

use std::io::{self, Read};

use super::{MAX_FRAME_BYTES, Stop};

const CHUNK: usize = 64 << 10;

/// What was read and not used yet, at most one picture and a little more.
pub(super) struct Feed<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    stop: Stop,
}

impl<R: Read> Feed<R> {
    pub fn new(input: R, stop: Stop) -> Self {
        Self { input, buffer: Vec::new(), start: 0, stop }
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more; `false` at the end, and when told to stop.
    pub fn more(&mut self) -> io::Result<bool> {
        if self.bytes().len() > MAX_FRAME_BYTES {
            return Err(too_large());
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.shrink_to(8 << 20);
        }
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[length..]) {
                _ if self.stop.told() => break Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Reads until `count` bytes are there; `false` where the end comes first.
    pub fn fill(&mut self, count: usize) -> io::Result<bool> {
        if count > MAX_FRAME_BYTES {
            return Err(too_large());
        }
        while self.bytes().len() < count {
            if !self.more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops what is at the front.
    pub fn skip(&mut self, count: usize) {
        self.start += count.min(self.bytes().len());
    }

    /// Takes what is at the front.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.bytes()[..count].to_vec();
        self.skip(count);
        taken
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("a frame is larger than {} MiB", MAX_FRAME_BYTES >> 20))
}

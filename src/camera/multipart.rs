//! The parts of a `multipart/x-mixed-replace` stream.

use std::io::{self, Read};
use std::time::Instant;

use super::feed::Feed;
use super::jpeg::{Step, Walk};

/// Most bytes of the header of a part.
const MAX_HEADER: usize = 16 << 10;

/// The bodies of the parts. Cameras write boundaries other than they announce, wrong lengths, and none at all: what is
/// announced is believed where it fits, else the next delimiter is looked for.
pub(super) struct Parts<R> {
    feed: Feed<R>,
    /// `--boundary`.
    delimiter: Vec<u8>,
    begun: bool,
}

impl<R: Read> Parts<R> {
    /// `boundary` as announced in the content type.
    pub fn new(feed: Feed<R>, boundary: &str) -> Self {
        Self { feed, delimiter: format!("--{boundary}").into_bytes(), begun: false }
    }

    /// The next part that ends after `not_before`; `None` at the end of the stream.
    pub fn next(&mut self, not_before: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            if !self.begun {
                self.begin()?;
                self.begun = true;
            }
            if !self.find_delimiter()? {
                return Ok(None);
            }
            let Some(announced) = self.header()? else { return Ok(None) };
            let length = match announced {
                Some(length) if self.feed.fill(length)? => Some(length),
                Some(_) => None,
                None => self.body_length()?,
            };
            match length {
                Some(0) => {}
                Some(length) if Instant::now() >= not_before => return Ok(Some(self.feed.take(length))),
                Some(length) => self.feed.skip(length),
                None => return Ok(None),
            }
        }
    }

    /// Takes the first line for the delimiter where it looks like one: many cameras announce another.
    fn begin(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.feed.bytes();
            let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if let Some(end) = bytes[blank..].iter().position(|byte| *byte == b'\n') {
                let line = bytes[blank..blank + end].trim_ascii_end();
                if line.starts_with(b"--") && line.len() > 2 && line.len() <= 200 {
                    self.delimiter = line.to_vec();
                }
                return Ok(());
            }
            if bytes.len() > MAX_HEADER || !self.feed.more()? {
                return Ok(());
            }
        }
    }

    /// Skips to after the next delimiter; `false` at the end.
    fn find_delimiter(&mut self) -> io::Result<bool> {
        let mut skipped = 0;
        loop {
            if let Some(at) = find(self.feed.bytes(), &self.delimiter) {
                self.feed.skip(at + self.delimiter.len());
                return Ok(true);
            }
            let skip = self.feed.bytes().len().saturating_sub(self.delimiter.len());
            self.feed.skip(skip);
            skipped += skip;
            if skipped > super::MAX_FRAME_BYTES {
                let boundary = String::from_utf8_lossy(&self.delimiter).into_owned();
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the boundary {boundary:?} never comes"),
                ));
            }
            if !self.feed.more()? {
                return Ok(false);
            }
        }
    }

    /// Reads the rest of the delimiter's line and the header; the length of the part, if it is there. `None`: the end.
    fn header(&mut self) -> io::Result<Option<Option<usize>>> {
        let mut length = None;
        let mut first = true;
        let mut total = 0;
        loop {
            let Some(end) = self.feed.bytes().iter().position(|byte| *byte == b'\n') else {
                if self.feed.bytes().len() > MAX_HEADER {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a part never ends"));
                }
                if !self.feed.more()? {
                    return Ok(None);
                }
                continue;
            };
            let line = self.feed.take(end + 1);
            let line = line.trim_ascii();
            total += end;
            if total > MAX_HEADER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a part never ends"));
            }
            match (first, line) {
                (true, b"--") => return Ok(None),
                (false, b"") => return Ok(Some(length)),
                _ => first = false,
            }
            let text = String::from_utf8_lossy(line);
            if let Some((_, value)) =
                text.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().ok();
            }
        }
    }

    /// The length of a part that does not say it: a JPEG tells its own end, anything ends before the next delimiter.
    fn body_length(&mut self) -> io::Result<Option<usize>> {
        let line = [b"\n", &self.delimiter[..]].concat();
        let mut walk = Some(Walk::default());
        let mut searched: usize = 0;
        loop {
            let bytes = self.feed.bytes();
            let from = searched.saturating_sub(line.len());
            let delimiter = find(&bytes[from..], &line).map(|at| from + at);
            searched = bytes.len();
            let step = match walk.as_mut() {
                Some(walk) if bytes.starts_with(&[0xFF, 0xD8]) => walk.go(bytes),
                Some(_) if bytes.len() < 2 => Step::More,
                _ => Step::Broken,
            };
            match (step, delimiter) {
                (Step::Whole(length), delimiter) if delimiter.is_none_or(|at| length <= at + 1) => {
                    return Ok(Some(length));
                }
                (_, Some(at)) => return Ok(Some(at - usize::from(at > 0 && bytes[at - 1] == b'\r'))),
                (Step::More, None) => {}
                (_, None) => walk = None,
            }
            if !self.feed.more()? {
                return Ok(None);
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted[0];
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == first) {
        at += found;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The boundary announced in a content type such as `multipart/x-mixed-replace; boundary="frame"`, without dashes.
pub(super) fn boundary(content_type: &str) -> &str {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let value =
        parameters.filter_map(|pair| pair.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let value = value.map_or("", |(_, value)| value.trim().trim_matches('"'));
    value.strip_prefix("--").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Stop;

    fn parts(stream: &[u8], boundary: &str) -> Vec<String> {
        let mut parts = Parts::new(Feed::new(stream, Stop::default()), boundary);
        let now = Instant::now();
        std::iter::from_fn(|| parts.next(now).unwrap())
            .map(|part| String::from_utf8_lossy(&part).into_owned())
            .collect()
    }

    #[test]
    fn parts_with_and_without_a_length_are_found() {
        let good = b"\r\n--x\r\nContent-Type: image/png\r\ncontent-length: 4\r\n\r\none!\r\n--x\r\n\r\ntwo\r\n--x\n\nthree\n--x--\r\n--x\r\n";
        assert_eq!(parts(good, "x"), ["one!", "two", "three"]);
    }

    #[test]
    fn a_wrong_boundary_a_wrong_length_and_rubbish_lose_no_more_than_their_part() {
        let announced_other = b"--real\r\nContent-Length: 3\r\n\r\none\r\n--real\r\nContent-Length: 3\r\n\r\ntwo";
        assert_eq!(parts(announced_other, "other"), ["one", "two"]);
        let too_short = b"--x\r\nContent-Length: 2\r\n\r\none\r\n--x\r\nContent-Length: 3\r\n\r\ntwo";
        assert_eq!(parts(too_short, "x"), ["on", "two"]);
        let rubbish =
            b"--x\r\nContent-Length: 3\r\n\r\none rubbish --y \r\n\r\n--x\r\nContent-Length: soon\r\n\r\ntwo\r\n--x";
        assert_eq!(parts(rubbish, "x"), ["one", "two"]);
    }

    #[test]
    fn boundaries_are_read_however_they_are_written() {
        for text in ["a/b;boundary=x y", "a/b; boundary=\"x y\"", "a/b; charset=q; Boundary=--x y"] {
            assert_eq!(boundary(text), "x y", "{text}");
        }
    }
}

//! Pictures both ways, in pieces as long as the line lets through.

use std::time::{Duration, Instant};

use crate::protocol::{About, Fetch, Findings, MAX_PIECE, Message, Name, Picture, Piece, Question, checksum};
use crate::{Code, Error, Result};

use super::line::Heard;
use super::{Client, is_damage, refused};

/// Pieces that are on the way at once.
const WINDOW: usize = 8;

/// Fewest bytes in a piece; below, frames are little but their ends.
const LEAST: usize = 32;

/// How long the line may be quiet, besides the time that a frame takes, until the rest of a window counts as lost.
const LOST: Duration = Duration::from_millis(100);

/// How often a picture whose checksum is wrong is fetched anew.
const TRIES: usize = 3;

/// A picture of the camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// The JPEG file.
    pub jpeg: Vec<u8>,
}

impl Client {
    /// Takes a picture with this camera, the first one where none is named, and fetches it whole.
    pub fn snapshot(&mut self, camera: Option<Name>) -> Result<Snapshot> {
        for _ in 0..TRIES {
            let answer = self.ask_about(camera.clone().map(About::Camera), Question::Snapshot, "")?;
            let Findings::Snapshot { bytes, width, height } = answer.findings else {
                return Err(Error::new(
                    Code::Link,
                    "the answer is no snapshot",
                    "do both ends have the same version of lookout?",
                ));
            };
            let id = answer.id;
            let size = Message::Fetch(Fetch { id, offset: 0, size: 0, pieces: 0 });
            let picture = self.exchange(Some(id), &size, |message| match message {
                Message::Picture(picture) if picture.id == id => Some(picture),
                _ => None,
            })?;
            if picture.bytes == bytes
                && let Some(jpeg) = self.fetch(picture)?
            {
                return Ok(Snapshot { width, height, jpeg });
            }
        }
        Err(Error::new(Code::Link, "the snapshot did not arrive whole", "is the line so noisy? Try a lower speed"))
    }

    /// Sends a picture for [`Client::ask_about`], [`MAX_PICTURE`](crate::link::serial::MAX_PICTURE) bytes at most. Returns its id.
    pub fn send(&mut self, jpeg: &[u8]) -> Result<u32> {
        let id = self.id();
        let bytes = u32::try_from(jpeg.len())
            .map_err(|_| Error::new(Code::Usage, "the picture has more than 4 GiB", "send a smaller one"))?;
        let offer = Picture { id, bytes, crc: checksum(jpeg) };
        let mut pace = Pace::new(self);
        let mut have = self.offer(offer)?;
        while have < jpeg.len() {
            let parts = jpeg[have..].chunks(pace.size).take(WINDOW).enumerate();
            let mut sent = 0;
            let mut end = have;
            for (place, part) in parts {
                let data = heapless::Vec::from_slice(part).unwrap_or_default();
                let offset = (have + place * pace.size) as u32;
                self.line.tell(&Message::Piece(Piece { id, offset, total: bytes, data }))?;
                sent += 1;
                end += part.len();
            }
            let (mut answers, mut reached) = (0, have);
            while reached < end && answers < sent {
                match self.line.hear(Instant::now() + pace.lost)? {
                    Heard::Message(Message::Have(known)) if known.id == id => {
                        reached = reached.max(known.bytes as usize);
                        answers += 1;
                    }
                    Heard::Message(Message::Failure(failure)) if failure.id == Some(id) => {
                        // It forgot the offer, as after its port was opened again, or the picture was damaged.
                        log::debug!("{}", refused(&failure));
                        reached = self.offer(offer)?;
                        break;
                    }
                    Heard::Message(message) if is_damage(&message) => answers += 1,
                    Heard::Damage => answers += 1,
                    Heard::Message(_) | Heard::Event => {}
                    Heard::Nothing => break,
                }
            }
            pace.went(sent, reached.saturating_sub(have).div_ceil(pace.size), self)?;
            have = reached.min(jpeg.len());
        }
        Ok(id)
    }

    /// Offers a picture; returns how much of it is there.
    fn offer(&mut self, offer: Picture) -> Result<usize> {
        self.exchange(Some(offer.id), &Message::Picture(offer), |message| match message {
            Message::Have(have) if have.id == offer.id => Some(have.bytes as usize),
            _ => None,
        })
    }

    /// All of a snapshot; `None` where its checksum is wrong or it is there no more.
    fn fetch(&mut self, picture: Picture) -> Result<Option<Vec<u8>>> {
        let Picture { id, bytes, crc } = picture;
        let mut file = vec![0; bytes as usize];
        let mut gaps = Gaps(vec![(0, file.len())]);
        let mut pace = Pace::new(self);
        while let Some((from, to)) = gaps.0.first().copied() {
            let wanted = (to - from).div_ceil(pace.size).min(WINDOW);
            let end = to.min(from + wanted * pace.size);
            let (offset, size) = (from as u32, pace.size as u16);
            self.line.tell(&Message::Fetch(Fetch { id, offset, size, pieces: wanted as u8 }))?;
            let (mut came, mut damaged) = (0, 0);
            while came + damaged < wanted && gaps.0.first().is_some_and(|(from, _)| *from < end) {
                match self.line.hear(Instant::now() + pace.lost)? {
                    Heard::Message(Message::Piece(piece)) if piece.id == id && piece.total == bytes => {
                        let from = piece.offset as usize;
                        let Some(place) = file.get_mut(from..from + piece.data.len()) else { continue };
                        place.copy_from_slice(&piece.data);
                        gaps.fill(from, from + piece.data.len());
                        came += 1;
                    }
                    Heard::Message(Message::Failure(failure)) if failure.id == Some(id) => return Ok(None),
                    Heard::Message(message) if is_damage(&message) => break,
                    Heard::Message(_) | Heard::Event => {}
                    Heard::Damage => damaged += 1,
                    Heard::Nothing => break,
                }
            }
            pace.went(wanted, came, self)?;
        }
        Ok((checksum(&file) == crc).then_some(file))
    }
}

/// How long the pieces are: shorter as they get lost, longer as they get through.
struct Pace {
    size: usize,
    /// How long nothing may come.
    lost: Duration,
    /// When something last got through.
    last: Instant,
}

impl Pace {
    fn new(client: &Client) -> Self {
        Self { size: MAX_PIECE, lost: LOST + 2 * client.line.frame_time(), last: Instant::now() }
    }

    /// Of `sent` pieces `came` got through. Errors where none has for as long as the client is patient.
    fn went(&mut self, sent: usize, came: usize, client: &Client) -> Result<()> {
        if came > 0 {
            self.last = Instant::now();
        } else if self.last.elapsed() >= client.patience {
            return Err(client.silent());
        }
        if came * 2 <= sent {
            self.size = (self.size / 2).max(LEAST);
        } else if came >= sent {
            self.size = (self.size * 2).min(MAX_PIECE);
        }
        Ok(())
    }
}

/// What is missing of a file, in order.
struct Gaps(Vec<(usize, usize)>);

impl Gaps {
    fn fill(&mut self, from: usize, to: usize) {
        let cut = |(start, end): (usize, usize)| [(start, end.min(from)), (start.max(to), end)];
        self.0 = self.0.iter().copied().flat_map(cut).filter(|(start, end)| start < end).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_close_in_any_order() {
        let mut gaps = Gaps(vec![(0, 10)]);
        gaps.fill(3, 5);
        assert_eq!(gaps.0, [(0, 3), (5, 10)]);
        gaps.fill(4, 7);
        assert_eq!(gaps.0, [(0, 3), (7, 10)]);
        gaps.fill(0, 0);
        gaps.fill(9, 10);
        gaps.fill(0, 3);
        assert_eq!(gaps.0, [(7, 9)]);
        gaps.fill(0, 10);
        assert!(gaps.0.is_empty());
    }
}

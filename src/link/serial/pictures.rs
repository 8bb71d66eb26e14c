//! Pictures that are fetched or sent in pieces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::{Answer, Have, Picture, Piece, checksum};
use crate::{Code, Error, Result};

/// Most bytes of a picture that is sent to the lookout: 8 MiB.
pub const MAX_PICTURE: usize = 8 << 20;

/// Snapshots that are kept for fetching.
const KEPT: usize = 2;

/// How long a repeated question for a snapshot gives the same one.
const SAME: Duration = Duration::from_secs(10);

/// The pictures of one connection: the newest snapshots, and one picture that was sent.
#[derive(Default)]
pub(super) struct Pictures {
    taken: VecDeque<Taken>,
    incoming: Option<Incoming>,
}

struct Taken {
    at: Instant,
    answer: Answer,
    picture: Picture,
    jpeg: Arc<[u8]>,
}

struct Incoming {
    offer: Picture,
    bytes: Vec<u8>,
    /// All of it, once its checksum was right.
    whole: Option<Arc<[u8]>>,
}

impl Pictures {
    /// Keeps a snapshot for fetching.
    pub fn took(&mut self, answer: Answer, jpeg: Arc<[u8]>) -> Picture {
        let picture = Picture { id: answer.id, bytes: jpeg.len() as u32, crc: checksum(&jpeg) };
        self.taken.retain(|taken| taken.picture.id != picture.id);
        if self.taken.len() == KEPT {
            self.taken.pop_front();
        }
        self.taken.push_back(Taken { at: Instant::now(), answer, picture, jpeg });
        picture
    }

    /// The answer to a question for a snapshot that is repeated.
    pub fn again(&self, id: u32) -> Option<(Answer, Picture)> {
        let taken = self.taken.iter().find(|taken| taken.picture.id == id && taken.at.elapsed() < SAME)?;
        Some((taken.answer.clone(), taken.picture))
    }

    /// A snapshot that was taken.
    pub fn fetch(&self, id: u32) -> Result<(Picture, Arc<[u8]>)> {
        let taken = self.taken.iter().find(|taken| taken.picture.id == id).ok_or_else(|| {
            usage(format!("there is no snapshot {id} (any more)"), "ask for a snapshot, then fetch it by that id")
        })?;
        Ok((taken.picture, taken.jpeg.clone()))
    }

    /// Makes room for a picture. The same offer again goes on where it stood.
    pub fn offer(&mut self, offer: Picture) -> Result<Have> {
        if offer.bytes == 0 || offer.bytes as usize > MAX_PICTURE {
            let message = format!("a picture of {} bytes is not taken", offer.bytes);
            return Err(usage(message, &format!("send a JPEG of at most {MAX_PICTURE} bytes")));
        }
        if self.incoming.as_ref().is_none_or(|incoming| incoming.offer != offer) {
            self.incoming = Some(Incoming { offer, bytes: Vec::new(), whole: None });
        }
        Ok(self.have(offer.id, self.incoming.as_ref().map_or(0, Incoming::have)))
    }

    /// Takes a piece of the picture that was offered; one that leaves a gap is answered by where to go on.
    pub fn piece(&mut self, piece: &Piece) -> Result<Have> {
        let id = piece.id;
        let incoming = self
            .incoming
            .as_mut()
            .filter(|incoming| incoming.offer.id == id && incoming.offer.bytes == piece.total)
            .ok_or_else(|| usage(format!("no picture {id} of {} bytes was offered", piece.total), "offer it first"))?;
        if incoming.whole.is_none() {
            incoming.add(piece)?;
        }
        let have = incoming.have();
        if incoming.whole.is_none() && incoming.bytes.len() == incoming.offer.bytes as usize {
            self.incoming = None;
            return Err(usage(format!("the checksum of picture {id} does not match"), "send it again"));
        }
        Ok(self.have(id, have))
    }

    /// The picture that was sent under this id.
    pub fn sent(&self, id: u32) -> Result<Arc<[u8]>> {
        self.incoming
            .as_ref()
            .filter(|incoming| incoming.offer.id == id)
            .and_then(|incoming| incoming.whole.clone())
            .ok_or_else(|| usage(format!("picture {id} was not sent (whole)"), "send it, then ask about it"))
    }

    fn have(&self, id: u32, bytes: usize) -> Have {
        Have { id, bytes: bytes as u32 }
    }
}

impl Incoming {
    fn have(&self) -> usize {
        self.whole.as_ref().map_or(self.bytes.len(), |whole| whole.len())
    }

    fn add(&mut self, piece: &Piece) -> Result<()> {
        let (from, have) = (piece.offset as usize, self.bytes.len());
        let Some(new) = have.checked_sub(from).and_then(|known| piece.data.get(known..)) else { return Ok(()) };
        if have + new.len() > self.offer.bytes as usize {
            return Err(usage(format!("a piece reaches beyond the end of picture {}", self.offer.id), "offer it anew"));
        }
        self.bytes.extend_from_slice(new);
        if self.bytes.len() == self.offer.bytes as usize && checksum(&self.bytes) == self.offer.crc {
            self.whole = Some(std::mem::take(&mut self.bytes).into());
        }
        Ok(())
    }
}

fn usage(message: String, help: &str) -> Error {
    Error::new(Code::Usage, message, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Findings;

    fn piece(id: u32, offset: usize, total: usize, data: &[u8]) -> Piece {
        let data = heapless::Vec::from_slice(data).unwrap();
        Piece { id, offset: offset as u32, total: total as u32, data }
    }

    #[test]
    fn a_picture_arrives_with_gaps_repeats_and_overlaps() {
        let file: Vec<u8> = (0..=255).collect();
        let offer = Picture { id: 5, bytes: 256, crc: checksum(&file) };
        let mut pictures = Pictures::default();
        let have = |bytes| Have { id: 5, bytes };
        assert_eq!(pictures.offer(offer).unwrap(), have(0));
        assert_eq!(pictures.piece(&piece(5, 0, 256, &file[..100])).unwrap(), have(100));
        assert_eq!(pictures.piece(&piece(5, 120, 256, &file[120..200])).unwrap(), have(100), "a gap");
        assert_eq!(pictures.piece(&piece(5, 0, 256, &file[..100])).unwrap(), have(100), "a repeat");
        assert_eq!(pictures.piece(&piece(5, 50, 256, &file[50..150])).unwrap(), have(150), "an overlap");
        assert_eq!(pictures.offer(offer).unwrap(), have(150), "the offer again");
        assert!(pictures.sent(5).is_err());
        assert_eq!(pictures.piece(&piece(5, 150, 256, &file[150..])).unwrap(), have(256));
        assert_eq!(pictures.piece(&piece(5, 150, 256, &file[150..])).unwrap(), have(256), "the last one again");
        assert_eq!(pictures.sent(5).unwrap()[..], file[..]);
        assert!(pictures.sent(6).is_err() && pictures.piece(&piece(6, 0, 256, &file[..9])).is_err());
    }

    #[test]
    fn a_picture_with_a_wrong_checksum_or_size_is_refused() {
        let mut pictures = Pictures::default();
        pictures.offer(Picture { id: 1, bytes: 3, crc: 1 }).unwrap();
        let error = pictures.piece(&piece(1, 0, 3, b"abc")).unwrap_err();
        assert!(error.message().contains("checksum"), "{error}");
        assert!(pictures.sent(1).is_err());
        pictures.offer(Picture { id: 1, bytes: 3, crc: 1 }).unwrap();
        assert!(pictures.piece(&piece(1, 0, 3, b"abcd")).unwrap_err().message().contains("beyond"));
        assert!(pictures.offer(Picture { id: 1, bytes: 0, crc: 0 }).is_err());
        assert!(pictures.offer(Picture { id: 1, bytes: MAX_PICTURE as u32 + 1, crc: 0 }).is_err());
    }

    #[test]
    fn the_newest_two_snapshots_are_kept() {
        let mut pictures = Pictures::default();
        for id in 0..3 {
            let findings = Findings::Snapshot { bytes: 2, width: 1, height: 1 };
            pictures.took(Answer { id, ms: 0, findings }, [id as u8, 7].into());
        }
        assert!(pictures.fetch(0).is_err() && pictures.again(0).is_none());
        assert_eq!(pictures.fetch(2).unwrap().1[..], [2, 7]);
        assert_eq!(pictures.again(1).unwrap().1.bytes, 2);
    }
}

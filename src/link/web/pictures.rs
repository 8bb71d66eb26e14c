//! Frames as JPEG files, encoded once however many look on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;

use crate::Result;
use crate::camera::Frame;

const QUALITY: u8 = 85;

/// The newest file of each camera that does not send JPEG itself.
#[derive(Default)]
pub(super) struct Pictures {
    newest: Mutex<HashMap<String, (u64, Bytes)>>,
}

impl Pictures {
    /// The frame as a JPEG file.
    pub(super) fn of(&self, frame: &Frame) -> Result<Bytes> {
        if let Some(jpeg) = frame.jpeg() {
            return Ok(Bytes::copy_from_slice(jpeg));
        }
        // Held while encoding: who asks for the same frame meanwhile waits for it in place of encoding it again.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sequence, jpeg)) = newest.get(&*frame.camera)
            && *sequence == frame.sequence
        {
            return Ok(jpeg.clone());
        }
        let jpeg = Bytes::from(frame.picture()?.to_jpeg(QUALITY)?);
        newest.insert(frame.camera.to_string(), (frame.sequence, jpeg.clone()));
        Ok(jpeg)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::picture::Picture;

    use super::*;

    #[test]
    fn a_frame_of_pixels_is_encoded_once_and_a_new_one_anew() {
        let pictures = Pictures::default();
        let frame = |sequence, grey| {
            let picture = Picture::from_rgb8(8, 8, vec![grey; 8 * 8 * 3]).unwrap();
            Frame::of("door", sequence, Arc::new(picture))
        };
        let first = pictures.of(&frame(1, 10)).unwrap();
        assert_eq!(pictures.of(&frame(1, 200)).unwrap(), first, "the same frame is not encoded again");
        let second = pictures.of(&frame(2, 200)).unwrap();
        assert!(Picture::decode(&second, "second").unwrap().as_rgb8()[0].abs_diff(200) < 4);
    }
}

//! One message to bytes and back.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::Message;

/// Version of the protocol, the first byte in every frame.
pub const VERSION: u8 = 1;

/// Most bytes in a message, before framing. Every message fits.
pub const MAX_MESSAGE: usize = 512;

/// Most bytes in a frame, from the zero in front to the zero at the end.
pub const MAX_FRAME: usize = MAX_STUFFED + 2;

/// Most bytes between the zeros.
pub(super) const MAX_STUFFED: usize = cobs::max_encoding_length(MAX_PLAIN);

const MAX_PLAIN: usize = 1 + MAX_MESSAGE + 4;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Why bytes between two zeros are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bad {
    /// The byte stuffing breaks off: bytes were lost.
    Stuffing,
    /// Too short to hold a version, a message and a checksum.
    Short,
    /// The checksum does not match: something was changed on the way.
    Checksum,
    /// Undamaged, but of this other version of the protocol.
    Version(u8),
    /// Undamaged and of this version, but no message that is known here.
    Malformed,
}

/// Why a message was not framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EncodeError {
    /// The buffer is too small; [`MAX_FRAME`] bytes are always enough.
    Overfull,
}

/// Writes a whole frame, zeros included, to the start of `buffer`. Returns the frame.
pub fn encode<'a>(message: &Message, buffer: &'a mut [u8]) -> Result<&'a [u8], EncodeError> {
    let mut plain = [0; MAX_PLAIN];
    plain[0] = VERSION;
    let length = postcard::to_slice(message, &mut plain[1..=MAX_MESSAGE]).map_err(|_| EncodeError::Overfull)?.len();
    let summed = 1 + length;
    let sum = CRC.checksum(&plain[..summed]);
    plain[summed..summed + 4].copy_from_slice(&sum.to_le_bytes());
    let plain = &plain[..summed + 4];

    let (first, rest) = buffer.split_first_mut().ok_or(EncodeError::Overfull)?;
    *first = 0;
    let stuffed = cobs::try_encode(plain, rest).map_err(|_| EncodeError::Overfull)?;
    *rest.get_mut(stuffed).ok_or(EncodeError::Overfull)? = 0;
    Ok(&buffer[..stuffed + 2])
}

/// CRC-32/ISO-HDLC of a whole file, as zlib and Ethernet compute it.
pub fn checksum(file: &[u8]) -> u32 {
    CRC.checksum(file)
}

/// Reads the bytes between two zeros, which it overwrites.
pub fn decode(stuffed: &mut [u8]) -> Result<Message, Bad> {
    if stuffed.contains(&0) {
        return Err(Bad::Stuffing);
    }
    let length = cobs::decode_in_place(stuffed).map_err(|_| Bad::Stuffing)?;
    let plain = stuffed.get(..length).ok_or(Bad::Stuffing)?;
    let (summed, sum) = plain.split_last_chunk::<4>().ok_or(Bad::Short)?;
    if CRC.checksum(summed) != u32::from_le_bytes(*sum) {
        return Err(Bad::Checksum);
    }
    match summed {
        [] => Err(Bad::Short),
        [VERSION, message @ ..] => match postcard::take_from_bytes(message) {
            Ok((message, [])) => Ok(message),
            _ => Err(Bad::Malformed),
        },
        [version, ..] => Err(Bad::Version(*version)),
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Stuffing => f.write_str("bytes of a frame were lost"),
            Bad::Short => f.write_str("a frame is too short"),
            Bad::Checksum => f.write_str("a frame was damaged on the way"),
            Bad::Version(version) => write!(f, "a frame has protocol version {version}, this end speaks {VERSION}"),
            Bad::Malformed => f.write_str("a frame holds a message that is not known here"),
        }
    }
}

impl core::error::Error for Bad {}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the buffer is too small for the frame; {MAX_FRAME} bytes are always enough")
    }
}

impl core::error::Error for EncodeError {}

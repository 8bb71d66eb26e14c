//! What a UART takes for bytes when another one sends at another speed, 8 data bits, no parity, one stop bit.

/// The bytes that are taken at `to` bits a second from bytes that are sent without a pause at `from`. `broken` is whether a
/// byte without its stop bit is taken too, as a port of Linux does that checks nothing; a microcontroller leaves it out.
pub fn taken(sent: &[u8], from: u32, to: u32, broken: bool) -> Vec<u8> {
    // Level of the line at a time, in units of 1 / (from * to) seconds. It is high before and after.
    let (sent_bit, taken_bit) = (u64::from(to), u64::from(from));
    let end = sent.len() as u64 * 10 * sent_bit;
    let level = |time: u64| {
        let bit = time / sent_bit;
        match (sent.get((bit / 10) as usize), bit % 10) {
            (None, _) | (_, 9) => true,
            (_, 0) => false,
            (Some(byte), data) => byte >> (data - 1) & 1 != 0,
        }
    };
    let mut bytes = Vec::new();
    let mut time = 0;
    while time < end {
        if level(time) {
            // Edges are at the sender's bits.
            time = (time / sent_bit + 1) * sent_bit;
            continue;
        }
        let middle = |bit: u64| time + taken_bit * bit + taken_bit / 2;
        let byte = (1..=8).fold(0, |byte, bit| byte >> 1 | u8::from(level(middle(bit))) << 7);
        let whole = level(middle(9));
        if whole || broken {
            bytes.push(byte);
        }
        if whole {
            time = middle(9);
        } else {
            // The next byte begins at a falling edge.
            time = middle(9);
            while time < end && !level(time) {
                time = (time / sent_bit + 1) * sent_bit;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_same_speed_and_near_it_every_byte_is_itself() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(taken(&all, 115_200, 115_200, false), all);
        assert_eq!(taken(&all, 115_200, 113_500, false), all);
        assert_eq!(taken(&all, 115_200, 117_000, false), all);
    }

    #[test]
    fn at_half_the_speed_two_bits_are_one() {
        // Sent: start, 10101010, stop at double speed: 0 10101010 1. Taken at half speed from the middle of every second bit.
        assert_ne!(taken(&[0x55; 20], 115_200, 57_600), [0x55; 20]);
        // Zeros with their start bits are nine low bits: at nine times less a start bit alone, then the line is high.
        assert_eq!(taken(&[0x00], 1_036_800, 115_200, false), [0xFF]);
        // One bit at a slow sender is many at a quick receiver: start and all data low, the stop bit too.
        assert_eq!(taken(&[0x00], 9_600, 115_200, false), []);
        assert_eq!(taken(&[0x00], 9_600, 115_200, true), [0x00]);
        assert_eq!(taken(&[0xFF], 9_600, 96_000, false), []);
        assert_eq!(taken(&[0xFF], 9_600, 76_800, false), [0x80]);
    }
}

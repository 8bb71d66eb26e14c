//! What a UART takes for bytes when another one sends at another speed, 8 data bits, no parity, one stop bit.

/// A byte that is taken from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// With its stop bit.
    Whole(u8),
    /// Without. A port of Linux that checks nothing gives it all the same, a microcontroller tells a framing error.
    Broken(u8),
}

/// What is taken at `to` bits a second from bytes that are sent without a pause at `from`.
pub fn taken(sent: &[u8], from: u32, to: u32) -> Vec<Taken> {
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
        if level(middle(9)) {
            bytes.push(Taken::Whole(byte));
            time = middle(9);
        } else {
            bytes.push(Taken::Broken(byte));
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
    use Taken::{Broken, Whole};

    #[test]
    fn at_the_same_speed_and_near_it_every_byte_is_itself() {
        let all: Vec<u8> = (0..=255).collect();
        for speed in [115_200, 113_500, 117_000] {
            let whole: Vec<Taken> = all.iter().map(|byte| Whole(*byte)).collect();
            assert_eq!(taken(&all, 115_200, speed), whole);
        }
    }

    #[test]
    fn at_another_speed_a_byte_is_more_or_less_than_one() {
        // Nine low bits are one at a ninth of the speed, then the line is high.
        assert_eq!(taken(&[0x00], 1_036_800, 115_200), [Whole(0xFF)]);
        // One low bit is twelve, ten, eight.
        assert_eq!(taken(&[0xFF], 9_600, 115_200), [Broken(0x00)]);
        assert_eq!(taken(&[0xFF], 9_600, 96_000), [Broken(0x00)]);
        assert_eq!(taken(&[0xFF], 9_600, 76_800), [Whole(0x80)]);
        // 0 10101010 1 twice as fast: every second bit of two bytes.
        assert_eq!(taken(&[0x55, 0x55], 115_200, 57_000).len(), 1);
    }
}

//! A card of a real kernel that is taken out while it is written.

use std::fs;
use std::path::Path;

use lookout::flash::{Device, Stage, write};

use super::Check;

pub const CHECKS: [Check; 1] = [("card", a_card_that_is_taken_out_while_it_is_written_or_read_back_is_named)];

/// Its reader, and what is written to it.
const CARD: &str = "/dev/vda";
const IMAGE: &str = "/tmp/card.img";

fn a_card_that_is_taken_out_while_it_is_written_or_read_back_is_named() {
    fs::write(IMAGE, (0..48_u32 << 20).map(|at| (at / 251 + at) as u8).collect::<Vec<_>>()).unwrap();
    for (during, words) in [(Stage::Writing, "were written"), (Stage::Reading, "were read back")] {
        let card = Device::at(Path::new(CARD)).unwrap();
        // The device of the bus, as it would be where a reader is unplugged.
        let reader = fs::canonicalize("/sys/block/vda/device").unwrap().parent().unwrap().to_owned();
        let mut last = 0;
        let outcome = write(Path::new(IMAGE), &card, |stage, done, _| {
            last = done;
            if stage == during && reader.join("remove").exists() {
                fs::write(reader.join("remove"), "1").unwrap();
            }
        });
        let error = outcome.expect_err("nothing is there to be written");
        println!("{error}; {}", error.help());
        let expected = format!("{CARD} was taken out after");
        assert!(error.message().starts_with(&expected) && error.message().contains(words), "{error}");
        assert!(error.help().contains("write it anew"), "{}", error.help());
        assert!(last < 48 << 20, "it went on to {last}");
        fs::write("/sys/bus/pci/rescan", "1").unwrap();
        let end = std::time::Instant::now() + super::LONG;
        while !Path::new(CARD).exists() {
            assert!(std::time::Instant::now() < end, "the card is not found again");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    // Put in again, it takes the image.
    let card = Device::at(Path::new(CARD)).unwrap();
    assert_eq!(write(Path::new(IMAGE), &card, |_, _, _| {}).unwrap(), 48 << 20);
    fs::remove_file(IMAGE).unwrap();
}

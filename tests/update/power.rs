//! The power may go at any write of an update, and in the middle of it: the card boots the old system or the new one, whole.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::rc::Rc;

use crate::common::{Disk, Maker, SLOT_BYTES, choose, root};
use lookout::update::{Ask, Medium, Package, Records, Slot, install};

/// How a write is cut.
#[derive(Debug, Clone, Copy)]
enum Torn {
    /// Nothing of it arrives.
    Nothing,
    /// Its first part arrives.
    Begin,
    /// Its end arrives, and its begin does not.
    End,
    /// What was there is neither old nor new.
    Garbage,
}

/// Power for so many writes, then none.
struct Power {
    left: usize,
    torn: Torn,
}

struct Cut {
    bytes: Rc<RefCell<Vec<u8>>>,
    power: Rc<RefCell<Power>>,
}

impl Medium for Cut {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(&self.bytes.borrow()[at as usize..][..buffer.len()]);
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut power = self.power.borrow_mut();
        let held = &mut self.bytes.borrow_mut()[at as usize..][..bytes.len()];
        // Of what is not padding.
        let half = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last / 2);
        match (power.left, power.torn) {
            (0, _) => return Err(io::ErrorKind::BrokenPipe.into()),
            (1, Torn::Nothing) => {}
            (1, Torn::Begin) => held[..half].copy_from_slice(&bytes[..half]),
            (1, Torn::End) => held[half..].copy_from_slice(&bytes[half..]),
            (1, Torn::Garbage) => held.fill(0xa5),
            _ => {
                held.copy_from_slice(bytes);
                power.left -= 1;
                return Ok(());
            }
        }
        power.left = 0;
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.power.borrow().left == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// Installs with so much power, and says whether it came to its end.
fn attempt(disk: &Disk, package: &Package, left: usize, torn: Torn) -> bool {
    let power = Rc::new(RefCell::new(Power { left, torn }));
    let medium = |name: &str| {
        let bytes = Rc::new(RefCell::new(fs::read(disk.path(name)).unwrap()));
        (Cut { bytes: bytes.clone(), power: power.clone() }, bytes)
    };
    let ((card, card_bytes), (mut slot, slot_bytes)) = (medium("disk"), medium("b"));
    let mut records = Records::open(card, "card").unwrap();
    let done = install(package, &mut records, Slot::A, (&mut slot, SLOT_BYTES), Ask::Words, |_, _, _| {}).is_ok();
    fs::write(disk.path("disk"), &*card_bytes.borrow()).unwrap();
    fs::write(disk.path("b"), &*slot_bytes.borrow()).unwrap();
    done
}

#[test]
fn whichever_write_is_cut_the_slot_that_boots_is_whole() {
    let maker = Maker::new();
    let package = Package::open(&maker.update("qemu-virt", "0.2.0", &root(b'n')), &maker.trust()).unwrap();
    let mut cuts = 0;
    for torn in [Torn::Nothing, Torn::Begin, Torn::End, Torn::Garbage] {
        for left in 1.. {
            // What a former update left in the slot is no system either.
            let disk = Disk::new();
            let done = attempt(&disk, &package, left, torn);
            let (slot, why) = choose(&disk);
            let held = fs::read(disk.path(&slot)).unwrap();
            let wanted = root(if slot == "a" { b'o' } else { b'n' });
            assert!(held[..wanted.len()] == wanted[..], "{torn:?} at write {left}: {slot} ({why}) is not whole");
            if done {
                assert_eq!(slot, "b", "an update that came to its end is tried");
                break;
            }
            cuts += 1;
            // And the update can be installed after all.
            assert!(attempt(&disk, &package, usize::MAX, torn), "{torn:?} at write {left}: {why}");
            assert_eq!(choose(&disk).0, "b");
        }
    }
    assert!(cuts >= 4 * 5, "each of the writes is cut: {cuts}");
}

#[test]
fn confirming_is_one_write_and_when_it_is_cut_the_system_is_tried_again() {
    let maker = Maker::new();
    let package = Package::open(&maker.update("qemu-virt", "0.2.0", &root(b'n')), &maker.trust()).unwrap();
    for torn in [Torn::Nothing, Torn::Begin, Torn::End, Torn::Garbage] {
        let disk = Disk::new();
        assert!(attempt(&disk, &package, usize::MAX, torn));
        assert_eq!(choose(&disk).0, "b");
        let bytes = Rc::new(RefCell::new(disk.bytes()));
        let power = Rc::new(RefCell::new(Power { left: 1, torn }));
        let mut records = Records::open(Cut { bytes: bytes.clone(), power }, "card").unwrap();
        assert!(records.write(|record| (record.good, record.trying) = (Slot::B, None)).is_err());
        disk.set(&bytes.borrow());
        assert_eq!(choose(&disk), ("b".into(), "try, 0 left".into()), "{torn:?}");
    }
}

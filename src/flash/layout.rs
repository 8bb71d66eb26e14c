//! How an image of a card is laid out.
//!
//! | from | what |
//! |---|---|
//! | 0 | partition table, of the kind that every boot program reads; written once and never again |
//! | 1 MiB, 5 MiB | the two records of the slots, see [`crate::update`] |
//! | 8 MiB | 1: FAT, the kernel, the first program, and the settings |
//! | 72 MiB | 2: slot A |
//! | 328 MiB | 3: slot B |
//! | 584 MiB | 4: what the board writes; it goes to the end of the card, whatever its size |
//!
//! An image ends with the system in slot A; the rest is made by the board itself, at its first start.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use crate::update::{Medium, Record, Records};
use crate::{Code, Error, Result};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// Where the boot partition begins, in bytes.
pub(super) const BOOT: u64 = 8 * MIB;

/// Bytes of the boot partition.
pub(super) const BOOT_BYTES: u64 = 64 * MIB;

/// Bytes of a slot.
pub(super) const SLOT_BYTES: u64 = 256 * MIB;

const SLOT_A: u64 = BOOT + BOOT_BYTES;
const SLOT_B: u64 = SLOT_A + SLOT_BYTES;
const DATA: u64 = SLOT_B + SLOT_BYTES;

const FAT32: u8 = 0x0c;
const LINUX: u8 = 0x83;

/// Writes an image of the parts to `out`. Returns its bytes.
pub(super) fn assemble(out: &Path, signature: [u8; 4], boot: &Path, root: &Path, record: &Record) -> Result<u64> {
    let written = || -> io::Result<u64> {
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(out)?;
        file.write_at(0, &table(signature))?;
        Records::make(&mut file, record)?;
        let mut end = 0;
        for (part, at) in [(boot, BOOT), (root, SLOT_A)] {
            file.seek(SeekFrom::Start(at))?;
            end = at + io::copy(&mut File::open(part)?, &mut file)?;
        }
        end = end.next_multiple_of(MIB);
        file.set_len(end)?;
        file.sync_all()?;
        Ok(end)
    };
    written().map_err(|error| {
        let message = format!("the image {} cannot be written: {error}", out.display());
        Error::new(Code::Output, message, "choose a folder that you can write to, with some hundred MB of room")
    })
}

/// The first sector. The last partition ends where the table can say no more, 2 TiB: Linux cuts it to the card. So the
/// table need not be written when the card turns out to be larger, and no power cut can damage it.
fn table(signature: [u8; 4]) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[440..444].copy_from_slice(&signature);
    let most = u64::from(u32::MAX) * SECTOR;
    let partitions = [
        (FAT32, BOOT, BOOT_BYTES),
        (LINUX, SLOT_A, SLOT_BYTES),
        (LINUX, SLOT_B, SLOT_BYTES),
        (LINUX, DATA, most - DATA),
    ];
    for (number, (kind, begin, bytes)) in partitions.into_iter().enumerate() {
        let entry = &mut sector[446 + 16 * number..][..16];
        entry[0] = if number == 0 { 0x80 } else { 0 };
        // Cylinders and heads, which nothing reads any more: beyond what they can say.
        entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[4] = kind;
        entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&((begin / SECTOR) as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&((bytes / SECTOR) as u32).to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn image() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("boot"), b"the boot partition").unwrap();
        fs::write(at("root"), b"the system").unwrap();
        let bytes =
            assemble(&at("card"), [1, 2, 0xab, 4], &at("boot"), &at("root"), &Record::new("qemu-virt", "1.0")).unwrap();
        assert_eq!(bytes, SLOT_A + MIB, "it ends with the system");
        assert_eq!(fs::metadata(at("card")).unwrap().len(), bytes);
        let card = at("card");
        (folder, card)
    }

    #[test]
    fn a_new_image_holds_its_parts_and_both_records() {
        let (_folder, card) = image();
        let bytes = fs::read(&card).unwrap();
        assert!(bytes[BOOT as usize..].starts_with(b"the boot partition"));
        assert!(bytes[SLOT_A as usize..].starts_with(b"the system"));
        assert_eq!(bytes[440..444], [1, 2, 0xab, 4]);
        let records = Records::open(File::open(&card).unwrap(), "card").unwrap();
        assert_eq!((records.now().sequence, records.now().version(crate::update::Slot::A)), (2, Some("1.0")));
    }

    #[test]
    fn the_table_is_what_other_programs_read_it_as() {
        let (_folder, card) = image();
        let mut partx = Command::new("partx");
        partx.args(["--noheadings", "--raw", "--output", "START,SECTORS,TYPE"]).arg(&card);
        let output = partx.output().expect("partx is there: apt-get install util-linux");
        let read = String::from_utf8(output.stdout).unwrap();
        let mut wanted = String::new();
        for (begin, bytes, kind) in
            [(BOOT, BOOT_BYTES, "0xc"), (SLOT_A, SLOT_BYTES, "0x83"), (SLOT_B, SLOT_BYTES, "0x83")]
        {
            wanted += &format!("{} {} {kind}\n", begin / SECTOR, bytes / SECTOR);
        }
        wanted += &format!("{} {} 0x83\n", DATA / SECTOR, u64::from(u32::MAX) - DATA / SECTOR);
        assert_eq!(read, wanted);
    }

    /// On a loop device, which only root has.
    #[test]
    fn the_kernel_finds_the_four_partitions_and_cuts_the_last_one_to_the_card() {
        let (_folder, card) = image();
        let size = 1 << 30;
        File::options().write(true).open(&card).unwrap().set_len(size).unwrap();
        let made = Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&card).output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("there are no loop devices for us here (they need root)");
            return;
        };
        let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let name = device.trim_start_matches("/dev/");
        let found = [1, 2, 3, 4].map(|number| {
            let read = |file: &str| {
                let path = format!("/sys/block/{name}/{name}p{number}/{file}");
                fs::read_to_string(path).ok()?.trim().parse::<u64>().ok().map(|sectors| sectors * SECTOR)
            };
            (read("start"), read("size"))
        });
        assert!(Command::new("losetup").args(["--detach", &device]).status().unwrap().success());
        if found == [(None, None); 4] {
            eprintln!("this kernel reads no tables of loop devices");
            return;
        }
        let wanted = [(BOOT, BOOT_BYTES), (SLOT_A, SLOT_BYTES), (SLOT_B, SLOT_BYTES), (DATA, size - DATA)];
        assert_eq!(found, wanted.map(|(start, bytes)| (Some(start), Some(bytes))));
    }
}

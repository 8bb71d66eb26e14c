//! Writing an image, and reading it back.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::Errno;

use crate::{Code, Error, Result};

use super::Device;
use super::device::size;

/// Bytes that are written and read in one go.
const CHUNK: usize = 4 << 20;

/// How often the card is made to catch up, so that progress is the card's and not the memory's.
const CATCH_UP: u64 = 32 << 20;

/// Bytes that the last partition of an image has at least: in ours, what the board keeps.
const LEAST_LAST: u64 = 64 << 20;

/// The kind of the one partition by which a table of another sort (GPT) says that the disk is not free.
const WHOLE_DISK: u8 = 0xee;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The image goes to the card.
    Writing,
    /// The card is read and compared with the image.
    Reading,
}

/// Writes the image at `path` to `device`, reads it back and compares. `progress` is told the stage, the bytes done, and all
/// bytes. Errors name the device, the place and the cause. Nobody else may use the device meanwhile, which is made sure of.
pub fn write(image: &Path, device: &Device, mut progress: impl FnMut(Stage, u64, u64)) -> Result<u64> {
    let mut source = Image::open(image)?;
    device.check(source.bytes, source.room)?;
    let shown = device.path.display();
    let open = |options: &mut OpenOptions| {
        // Exclusive: the kernel refuses it as long as anything of the device is mounted, and refuses mounts from then on.
        options.custom_flags(OFlags::EXCL.bits() as i32).open(&device.path).map_err(|error| {
            let help = match error.kind() {
                ErrorKind::PermissionDenied => "run it as root: sudo lookout flash write ...",
                ErrorKind::ResourceBusy => "something uses it: unmount it, and close what shows it",
                _ => "take it out and put it in again",
            };
            Error::new(Code::Output, format!("{shown} cannot be opened: {error}"), help)
        })
    };
    let mut card = open(OpenOptions::new().read(true).write(true))?;
    copy(&mut source, &mut card, &mut progress).map_err(|fault| fault.told(device))?;
    compare(&mut source, &mut card, &mut progress).map_err(|fault| fault.told(device))?;
    Ok(source.bytes)
}

/// Refuses, before anybody is asked, an image that is none, and a `device` that must not be written or is too small for it.
pub fn check(image: &Path, device: &Device) -> Result<()> {
    let source = Image::open(image)?;
    device.check(source.bytes, source.room)
}

/// An image that is open.
struct Image {
    file: File,
    name: String,
    bytes: u64,
    /// Bytes of the smallest card on which all of its partitions have room.
    room: u64,
}

impl Image {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let refuse =
            |cause: String, help: &str| Err(Error::new(Code::Input, format!("the image {name} {cause}"), help));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return refuse(format!("cannot be opened: {error}"), "name an image of a card, NAME.img"),
        };
        let meta = file.metadata().ok().filter(|meta| meta.is_file());
        match meta.map(|meta| meta.len()) {
            None => refuse("is no file".to_owned(), "name an image of a card, NAME.img"),
            Some(0) => refuse("is empty".to_owned(), "make or fetch it again"),
            Some(_) if packed(&file) => {
                refuse("is compressed".to_owned(), "unpack it first: xz -d, gunzip, unzstd or unzip")
            }
            Some(bytes) => Ok(Self { room: room(&file).max(bytes), file, name, bytes }),
        }
    }

    /// The next piece, from `at` on.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        let length = CHUNK.min((self.bytes - at) as usize);
        match self.file.read_exact(&mut buffer[..length]) {
            Ok(()) => Ok(length),
            Err(error) => Err(Fault::Image(format!("the image {} cannot be read at byte {at}: {error}", self.name))),
        }
    }
}

/// What the partitions of an image take, by its table; 0 where it has none. The image may end before they do. The last one
/// may go to the end of the card, whatever its size, so of it only [`LEAST_LAST`] must have room.
fn room(file: &File) -> u64 {
    let mut sector = [0; 512];
    if file.read_exact_at(&mut sector, 0).is_err() || sector[510..] != [0x55, 0xaa] {
        return 0;
    }
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) * 512;
    let entries = sector[446..510].chunks_exact(16).filter(|entry| ![0, WHOLE_DISK].contains(&entry[4]));
    let mut partitions: Vec<(u64, u64)> =
        entries.map(|entry| (number(&entry[8..]), number(&entry[12..]))).filter(|(_, bytes)| *bytes > 0).collect();
    partitions.sort_unstable();
    let last = partitions.pop().map_or(0, |(begin, bytes)| begin + bytes.min(LEAST_LAST));
    partitions.into_iter().map(|(begin, bytes)| begin + bytes).fold(last, u64::max)
}

/// By the first bytes: gzip, xz, zstd, zip, bzip2.
fn packed(file: &File) -> bool {
    let mut head = [0; 4];
    let kinds: [&[u8]; 5] = [b"\x1f\x8b", b"\xfd7zX", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"BZh"];
    file.read_exact_at(&mut head, 0).is_ok() && kinds.iter().any(|kind| head.starts_with(kind))
}

/// What is written to.
trait Card: Read + Write + Seek {
    /// Returns once all that was written is on the medium.
    fn catch_up(&self) -> io::Result<()>;

    /// Makes sure that what is read comes from the medium.
    fn forget(&self) -> io::Result<()>;
}

impl Card for File {
    fn catch_up(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget(&self) -> io::Result<()> {
        Ok(fadvise(self, 0, None, Advice::DontNeed)?)
    }
}

/// What stopped it.
#[derive(Debug)]
enum Fault {
    Image(String),
    Card { deed: &'static str, at: u64, error: io::Error },
    Differs { at: u64 },
}

fn copy(source: &mut Image, card: &mut impl Card, progress: &mut impl FnMut(Stage, u64, u64)) -> Result<(), Fault> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut caught_up) = (0, 0);
    while at < source.bytes {
        let length = source.read(at, &mut buffer)?;
        let fault = move |error| Fault::Card { deed: "written", at, error };
        card.write_all(&buffer[..length]).map_err(fault)?;
        at += length as u64;
        if at - caught_up >= CATCH_UP || at == source.bytes {
            card.catch_up().map_err(fault)?;
            caught_up = at;
        }
        progress(Stage::Writing, at, source.bytes);
    }
    Ok(())
}

fn compare(source: &mut Image, card: &mut impl Card, progress: &mut impl FnMut(Stage, u64, u64)) -> Result<(), Fault> {
    let fault = |at| move |error| Fault::Card { deed: "read back", at, error };
    card.forget().map_err(fault(0))?;
    card.seek(SeekFrom::Start(0)).map_err(fault(0))?;
    source.file.seek(SeekFrom::Start(0)).map_err(|error| Fault::Image(format!("the image cannot be read: {error}")))?;
    let (mut wanted, mut found) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < source.bytes {
        let length = source.read(at, &mut wanted)?;
        card.read_exact(&mut found[..length]).map_err(fault(at))?;
        if let Some(place) = wanted[..length].iter().zip(&found).position(|(a, b)| a != b) {
            return Err(Fault::Differs { at: at + place as u64 });
        }
        at += length as u64;
        progress(Stage::Reading, at, source.bytes);
    }
    Ok(())
}

impl Fault {
    fn told(self, device: &Device) -> Error {
        let (path, after) = (device.path.display(), |at: u64| size(at));
        match self {
            Fault::Image(message) => {
                Error::new(Code::Input, message, "the card is not usable now; fetch the image again")
            }
            Fault::Card { deed, at, error } if gone(&error) || !device.is_there() => Error::new(
                Code::Output,
                format!("{path} was taken out after {} were {deed}", after(at)),
                "the card is not usable now; put it in again and write it anew",
            ),
            Fault::Card { deed, at, error } => Error::new(
                Code::Output,
                format!("{path} fails after {} were {deed}: {error}", after(at)),
                "the card or its reader is broken; try another",
            ),
            Fault::Differs { at } => Error::new(
                Code::Output,
                format!("{path} does not hold what was written: byte {at} differs"),
                "the card is broken, or smaller than it claims; take another",
            ),
        }
    }
}

/// What the kernel says of a device that is no longer there.
fn gone(error: &io::Error) -> bool {
    let codes = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A card that breaks: `ends` after so many bytes with this code, or changes a bit of what it holds.
    struct Broken {
        held: Cursor<Vec<u8>>,
        ends: Option<(u64, Errno)>,
        flips: Option<usize>,
    }

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.held.read(buffer)
        }
    }

    impl Write for Broken {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            match self.ends {
                Some((most, code)) if self.held.position() + buffer.len() as u64 > most => Err(code.into()),
                _ => self.held.write(buffer),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Broken {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            if let Some(at) = self.flips {
                self.held.get_mut()[at] ^= 4;
            }
            self.held.seek(to)
        }
    }

    impl Card for Broken {
        fn catch_up(&self) -> io::Result<()> {
            Ok(())
        }

        fn forget(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn image(bytes: usize) -> (tempfile::TempDir, Image) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card.img");
        std::fs::write(&path, (0..bytes).map(|at| (at / 251 + at) as u8).collect::<Vec<_>>()).unwrap();
        let image = Image::open(&path).unwrap();
        (folder, image)
    }

    fn outcome(bytes: usize, mut card: Broken) -> Result<(), Fault> {
        let (_folder, mut image) = image(bytes);
        copy(&mut image, &mut card, &mut |_, _, _| {}).and_then(|()| compare(&mut image, &mut card, &mut |_, _, _| {}))
    }

    fn told(fault: Fault) -> Error {
        // A device that is not there.
        let device = Device {
            path: "/dev/nowhere".into(),
            model: String::new(),
            bytes: 1 << 30,
            removable: true,
            read_only: false,
            used_by: Vec::new(),
            system: false,
        };
        fault.told(&device)
    }

    #[test]
    fn a_sound_card_holds_the_image() {
        for bytes in [1, CHUNK - 1, CHUNK, 2 * CHUNK + 513] {
            outcome(bytes, Broken { held: Cursor::default(), ends: None, flips: None }).unwrap();
        }
    }

    #[test]
    fn a_card_that_is_taken_out_is_named_with_how_far_it_came() {
        let card = Broken { held: Cursor::default(), ends: Some((CHUNK as u64, Errno::NODEV)), flips: None };
        let error = told(outcome(3 * CHUNK, card).unwrap_err());
        assert!(error.message().contains("taken out after 4.2 MB were written"), "{error}");
        assert!(error.help().contains("write it anew"));
    }

    #[test]
    fn a_bit_that_does_not_hold_is_found() {
        let card = Broken { held: Cursor::default(), ends: None, flips: Some(CHUNK + 5) };
        let error = told(outcome(2 * CHUNK, card).unwrap_err());
        assert!(error.message().contains(&format!("byte {} differs", CHUNK + 5)), "{error}");
    }

    /// The room for an image whose table has these partitions: kind, first sector, sectors.
    fn room_for(partitions: &[(u8, u32, u32)]) -> u64 {
        let mut sector = [0; 512];
        for (number, (kind, begin, sectors)) in partitions.iter().enumerate() {
            let entry = &mut sector[446 + 16 * number..][..16];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&begin.to_le_bytes());
            entry[12..].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card.img");
        std::fs::write(&path, sector).unwrap();
        Image::open(&path).unwrap().room
    }

    #[test]
    fn a_card_must_have_room_for_every_partition_of_the_image_and_some_for_the_last() {
        let mib = |bytes: u64| bytes / (1 << 20);
        assert_eq!(room_for(&[]), 512, "the image itself");
        assert_eq!(mib(room_for(&[(0x0c, 16_384, 131_072)])), 72, "one that is small has its own size");
        assert_eq!(mib(room_for(&[(0x83, 147_456, u32::MAX), (0x0c, 16_384, 131_072)])), 72 + 64);
        assert_eq!(mib(room_for(&[(0x0c, 16_384, 131_072), (0x83, 2048, 4_000_000), (0x83, 300_000, 9)])), 1954);
        assert_eq!(room_for(&[(WHOLE_DISK, 1, u32::MAX)]), 512, "a table that says nothing of the room");
        assert_eq!(mib(room_for(&[(0x83, u32::MAX, u32::MAX)])), 2 * 1024 * 1024 + 63, "without overflow");
    }

    #[test]
    fn an_image_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, cause) in
            [(&b""[..], "is empty"), (b"\xfd7zXZ\0", "is compressed"), (b"\x1f\x8b\x08\0", "is compressed")]
        {
            let path = folder.path().join("card.img");
            std::fs::write(&path, bytes).unwrap();
            assert!(Image::open(&path).err().unwrap().message().contains(cause));
        }
        assert!(Image::open(folder.path()).err().unwrap().message().contains("is no file"));
    }
}

//! An ELF file to a UF2 file, which a Pico in its boot loader takes by drag and drop.
//! Source of the format: Microsoft, "USB Flashing Format (UF2)", <https://github.com/microsoft/uf2>.

use std::collections::BTreeMap;
use std::fmt;

use crc::{CRC_32_MPEG_2, Crc};
use object::elf::{FileHeader32, PT_LOAD, SHF_ALLOC, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, SymbolIndex};

/// Where the RP2040's flash begins, and how much of it a Pico has.
const FLASH: std::ops::Range<u32> = 0x1000_0000..0x1020_0000;

const PAGE: usize = 256;
const BLOCK: usize = 512;

const BEGIN: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
const END: u32 = 0x0AB1_6F30;
const HAS_FAMILY: u32 = 0x2000;
const RP2040: u32 = 0xE48B_FF56;

/// What the boot ROM checks the first page with.
const SECOND_STAGE: Crc<u32> = Crc::<u32>::new(&CRC_32_MPEG_2);

/// A firmware.
#[derive(Debug)]
pub struct Firmware {
    pages: BTreeMap<u32, [u8; PAGE]>,
    /// What it takes.
    pub sizes: Sizes,
}

/// What a firmware takes of the memory, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Code and constants, in flash.
    pub text: u32,
    /// Variables that do not begin as zero, in flash and in RAM.
    pub data: u32,
    /// Variables that begin as zero, in RAM.
    pub bss: u32,
    /// RAM for the stack.
    pub stack: u32,
}

impl Firmware {
    /// Reads an ELF file for a 32-bit processor. Errors say what is wrong with it.
    pub fn of_elf(elf: &[u8]) -> Result<Self, String> {
        let wrong = |error: object::read::Error| format!("no ELF file for a 32-bit processor: {error}");
        let header = FileHeader32::<Endianness>::parse(elf).map_err(wrong)?;
        let endian = header.endian().map_err(wrong)?;
        let mut pages = BTreeMap::new();
        for segment in header.program_headers(endian, elf).map_err(wrong)? {
            let bytes = segment.data(endian, elf).map_err(|()| "a segment lies beyond the end of the file")?;
            if segment.p_type(endian) == PT_LOAD {
                load(&mut pages, segment.p_paddr(endian), bytes)?;
            }
        }
        Ok(Self { pages, sizes: sizes(header, endian, elf).map_err(wrong)? })
    }

    /// The UF2 file. Errors where the image does not lie in the flash of a Pico, or would not start.
    pub fn uf2(&self) -> Result<Vec<u8>, String> {
        if let Some(address) = self.pages.keys().find(|address| !FLASH.contains(address)) {
            return Err(format!("the image has bytes at {address:#x}, which is not in the flash of a Pico"));
        }
        let first = self.pages.get(&FLASH.start).ok_or("the image has no second stage of the boot loader")?;
        let (stage, sum) = first.split_at(PAGE - 4);
        if SECOND_STAGE.checksum(stage).to_le_bytes() != sum {
            return Err("the second stage of the boot loader has a wrong checksum: the chip would not start".into());
        }
        let mut file = Vec::with_capacity(self.pages.len() * BLOCK);
        for (number, (address, page)) in (0..).zip(&self.pages) {
            let length = self.pages.len() as u32;
            let words = [BEGIN[0], BEGIN[1], HAS_FAMILY, *address, PAGE as u32, number, length, RP2040];
            file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            file.extend(page);
            file.resize(file.len() + BLOCK - 32 - PAGE - 4, 0);
            file.extend(END.to_le_bytes());
        }
        Ok(file)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, data, bss, stack } = self;
        write!(f, "text {text}, data {data}, bss {bss}, stack {stack} bytes")
    }
}

/// Puts bytes into their pages, which begin as erased flash.
fn load(pages: &mut BTreeMap<u32, [u8; PAGE]>, address: u32, bytes: &[u8]) -> Result<(), String> {
    for (offset, byte) in (0..).zip(bytes) {
        let at = address.checked_add(offset).ok_or("a segment lies beyond the end of the memory")?;
        let within = at as usize % PAGE;
        pages.entry(at - within as u32).or_insert([0xFF; PAGE])[within] = *byte;
    }
    Ok(())
}

fn sizes(header: &FileHeader32<Endianness>, endian: Endianness, elf: &[u8]) -> object::read::Result<Sizes> {
    let sections = header.sections(endian, elf)?;
    let mut sizes = Sizes::default();
    for section in sections.iter() {
        let (flags, size) = (section.sh_flags(endian), section.sh_size(endian));
        match () {
            () if flags.0 & SHF_ALLOC.0 == 0 => {}
            () if section.sh_type(endian) == SHT_NOBITS => sizes.bss += size,
            () if flags.0 & SHF_WRITE.0 != 0 => sizes.data += size,
            () => sizes.text += size,
        }
    }
    let symbols = sections.symbols(endian, elf, object::elf::SHT_SYMTAB)?;
    let value = |wanted: &[u8]| {
        let is =
            |index: usize| symbols.symbol(SymbolIndex(index)).and_then(|symbol| symbol.name(endian, symbols.strings()));
        let found = (0..symbols.len()).find(|index| is(*index) == Ok(wanted));
        found.and_then(|index| symbols.symbol(SymbolIndex(index)).ok()).map(|symbol| symbol.st_value(endian))
    };
    if let (Some(start), Some(end)) = (value(b"_stack_start"), value(b"_stack_end")) {
        sizes.stack = start.saturating_sub(end);
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of these segments: address, bytes.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let headers = 52 + 32 * segments.len();
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([2, 0, 40, 0]);
        file.extend([1, 0, 52, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()));
        file.extend([52, 32, segments.len() as u16, 40, 0, 0].iter().flat_map(|half: &u16| half.to_le_bytes()));
        let mut at = headers as u32;
        for (address, bytes) in segments {
            let length = bytes.len() as u32;
            let words = [PT_LOAD.0, at, 0x2000_0000, *address, length, length, 5, 1];
            file.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
            at += length;
        }
        segments.iter().for_each(|(_, bytes)| file.extend(*bytes));
        file
    }

    fn second_stage() -> Vec<u8> {
        let mut stage = vec![7; PAGE - 4];
        stage.extend(SECOND_STAGE.checksum(&stage).to_le_bytes());
        stage
    }

    #[test]
    fn every_byte_is_at_its_load_address_and_the_rest_is_erased() {
        let stage = second_stage();
        let firmware =
            Firmware::of_elf(&elf(&[(0x1000_0000, &stage), (0x1000_01FE, b"abcd"), (0x1000_0300, b"e")])).unwrap();
        let file = firmware.uf2().unwrap();
        assert_eq!(file.len(), 4 * BLOCK);
        let mut flash = vec![0; 0x400];
        for (number, block) in file.chunks(BLOCK).enumerate() {
            let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            assert_eq!([word(0), word(4), word(508)], [0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30]);
            assert_eq!([word(8), word(16), word(20), word(24), word(28)], [0x2000, 256, number as u32, 4, 0xE48B_FF56]);
            let at = (word(12) - 0x1000_0000) as usize;
            flash[at..at + 256].copy_from_slice(&block[32..288]);
        }
        assert_eq!(flash[..256], stage);
        assert_eq!(&flash[0x1FC..0x204], b"\xff\xffabcd\xff\xff");
        assert_eq!(flash[0x300..0x302], [b'e', 0xFF]);
    }

    #[test]
    fn an_image_that_would_not_start_is_refused() {
        let uf2 = |segments: &[(u32, &[u8])]| Firmware::of_elf(&elf(segments)).unwrap().uf2().unwrap_err();
        let mut stage = second_stage();
        assert!(uf2(&[(0x1000_0000, &stage), (0x2000_0000, b"x")]).contains("0x20000000"));
        assert!(uf2(&[(0x1000_0000, &stage), (0x1020_0000, b"x")]).contains("0x10200000"));
        assert!(uf2(&[(0x1000_0100, b"x")]).contains("no second stage"));
        stage[9] ^= 1;
        assert!(uf2(&[(0x1000_0000, &stage)]).contains("wrong checksum"));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let whole = elf(&[(0x1000_0000, &second_stage())]);
        for cut in 0..whole.len() {
            assert!(Firmware::of_elf(&whole[..cut]).is_err(), "{cut} bytes");
        }
        assert!(Firmware::of_elf(b"#!/bin/sh\n").unwrap_err().contains("no ELF file"));
    }
}

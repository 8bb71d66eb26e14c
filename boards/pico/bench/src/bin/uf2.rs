//! `uf2 FIRMWARE.elf [FIRMWARE.uf2]`: what a firmware takes of the memory, and its UF2 file.

use std::process::ExitCode;
use std::{env, fs};

use lookout_bench_pico::uf2::Firmware;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [elf] => show(elf).map(drop),
        [elf, uf2] => show(elf).and_then(|firmware| write(&firmware, uf2)),
        _ => Err("usage: uf2 FIRMWARE.elf [FIRMWARE.uf2]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn show(elf: &str) -> Result<Firmware, String> {
    let bytes = fs::read(elf).map_err(|error| format!("{elf}: {error}"))?;
    let firmware = Firmware::of_elf(&bytes).map_err(|error| format!("{elf}: {error}"))?;
    println!("{elf}: {}", firmware.sizes);
    Ok(firmware)
}

fn write(firmware: &Firmware, path: &str) -> Result<(), String> {
    let file = firmware.uf2()?;
    fs::write(path, &file).map_err(|error| format!("{path}: {error}"))?;
    println!("{path}: {} bytes", file.len());
    Ok(())
}

//! An image goes to the device that was named, whole and read back, and to no other. On a loop device, which only root has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{self, folder, lookout, lookout_reading};

/// A loop device over a file, gone with the value.
struct Loop {
    path: PathBuf,
    file: PathBuf,
    folder: Option<tempfile::TempDir>,
}

impl Loop {
    fn new(bytes: u64) -> Option<Self> {
        let folder = folder();
        let mut made = Self::over(folder.path().join("card"), bytes)?;
        made.folder = Some(folder);
        Some(made)
    }

    fn over(file: PathBuf, bytes: u64) -> Option<Self> {
        fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("there are no loop devices for us here (they need root); this was not tested");
            return None;
        };
        let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        Some(Self { path, file, folder: None })
    }

    fn shown(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

fn image(folder: &Path, bytes: usize) -> PathBuf {
    let path = folder.join("card.img");
    fs::write(&path, (0..bytes).map(|at| (at / 253 + at) as u8).collect::<Vec<_>>()).unwrap();
    path
}

fn write(image: &Path, device: &str, more: &[&str]) -> cli::Run {
    lookout([&["flash", "write", image.to_str().unwrap(), device], more].concat())
}

#[test]
fn what_is_no_card_is_refused() {
    let home = folder();
    let image = image(home.path(), 4096);
    write(&image, "/dev/null", &["--yes"]).bad(1, &["/dev/null is no block device", "flash list"]);
    write(&image, "/dev/nowhere", &["--yes"]).bad(1, &["/dev/nowhere cannot be opened"]);
    write(&image, image.to_str().unwrap(), &["--yes"]).bad(1, &["no block device"]);
    write(Path::new("/nowhere.img"), "/dev/null", &["--yes"]).bad(1, &["/dev/null"]);
}

#[test]
fn the_device_that_this_machine_runs_from_is_refused_and_shown_as_such() {
    let listed = lookout(["flash", "list", "--json"]).good().json();
    let devices = listed["devices"].as_array().unwrap();
    let home = folder();
    for device in devices.iter().filter(|device| device["system"] == true) {
        let path = device["path"].as_str().unwrap();
        write(&image(home.path(), 4096), path, &["--yes"]).bad(1, &[path, "is what this machine runs from"]);
        assert!(lookout(["flash", "list"]).good().out.contains("this machine runs from it"));
    }
}

#[test]
fn an_image_is_written_whole_and_read_back_and_nothing_beyond_it_is_touched() {
    let Some(card) = Loop::new(12 << 20) else { return };
    let home = folder();
    let image = image(home.path(), (9 << 20) + 512);
    let mut before = fs::read(&card.file).unwrap();
    before.truncate(12 << 20);
    let written = write(&image, card.shown(), &["--yes", "--json"]).good().json();
    assert_eq!(written["verified"], true);
    assert_eq!(written["bytes"], (9 << 20) + 512);
    let (wanted, held) = (fs::read(&image).unwrap(), fs::read(&card.file).unwrap());
    assert!(held[..wanted.len()] == wanted[..]);
    assert!(held[wanted.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn it_asks_for_the_devices_name_and_writes_nothing_on_another_answer() {
    let Some(card) = Loop::new(4 << 20) else { return };
    let home = folder();
    let image = image(home.path(), 1 << 20);
    let ask =
        |answer: &str| lookout_reading(["flash", "write", image.to_str().unwrap(), card.shown()], answer.as_bytes());
    for answer in ["", "y\n", "yes\n", "loop\n"] {
        let refused = ask(answer).bad(1, &["nothing was written", "--yes", "4.2 MB", "will be lost"]);
        assert!(refused.err.contains(card.file.to_str().unwrap()), "its model is shown: {}", refused.err);
    }
    assert!(fs::read(&card.file).unwrap().iter().all(|byte| *byte == 0));
    let name = card.path.file_name().unwrap().to_str().unwrap();
    ask(&format!("{name}\n")).good();
    assert!(fs::read(&card.file).unwrap().starts_with(&fs::read(&image).unwrap()));
}

#[test]
fn a_card_that_is_too_small_mounted_or_a_partition_is_refused_untouched() {
    let Some(card) = Loop::new(16 << 20) else { return };
    let home = folder();
    let large = image(home.path(), (16 << 20) + 1);
    write(&large, card.shown(), &["--yes"]).bad(1, &["too small", "16777216 bytes", "larger card"]);
    assert!(fs::read(&card.file).unwrap().iter().all(|byte| *byte == 0));

    let small = image(home.path(), 4096);
    assert!(Command::new("mkfs.ext2").arg("-q").arg(&card.path).status().is_ok_and(|made| made.success()));
    let place = home.path().join("mounted");
    fs::create_dir(&place).unwrap();
    assert!(Command::new("mount").arg(&card.path).arg(&place).status().unwrap().success());
    let refused = write(&small, card.shown(), &["--yes"]);
    assert!(Command::new("umount").arg(&place).status().unwrap().success());
    refused.bad(1, &["is in use", place.to_str().unwrap(), "umount"]);
    write(&small, card.shown(), &["--yes"]).good();
}

/// The table of an image whose slots end at 584 MiB, and what is to be kept goes from there to the end of the card.
#[test]
fn a_card_without_room_for_the_slots_and_some_data_is_refused_untouched_though_the_image_would_fit() {
    let home = folder();
    let image = image(home.path(), 1 << 20);
    let mut bytes = fs::read(&image).unwrap();
    bytes[446..510].fill(0);
    for (number, (begin, sectors)) in
        [(16_384_u32, 131_072_u32), (147_456, 524_288), (671_744, 524_288), (1_196_032, u32::MAX - 1_196_032)]
            .into_iter()
            .enumerate()
    {
        let entry = &mut bytes[446 + 16 * number..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&begin.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&image, bytes).unwrap();

    let Some(card) = Loop::new((648 << 20) - 512) else { return };
    let causes = ["too small", "679476736", "its partitions take 679477248", "a card of 679.5 MB or more"];
    write(&image, card.shown(), &["--yes"]).bad(1, &causes);
    assert!(fs::read(&card.file).unwrap().iter().all(|byte| *byte == 0));
    let Some(card) = Loop::new(648 << 20) else { return };
    write(&image, card.shown(), &["--yes"]).good();
}

/// A card that claims 64 MiB and holds 8: its file lies where there is no room for more.
#[test]
fn a_card_that_fails_while_it_is_written_is_named_with_how_far_it_came() {
    let home = folder();
    let room = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(home.path()).output();
    if !room.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("only root can make a small disk; a failing card was tested without the kernel only");
        return;
    }
    let refused = Loop::over(home.path().join("card"), 64 << 20).map(|card| {
        let home = folder();
        write(&image(home.path(), 48 << 20), card.shown(), &["--yes"])
    });
    assert!(Command::new("umount").arg(home.path()).status().unwrap().success());
    if let Some(refused) = refused {
        refused.bad(1, &["fails after", "MB were written", "broken"]);
    }
}

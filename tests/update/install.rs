//! `lookout update`: what is refused, before a byte is written; and what is told.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::cli;
use crate::common::{self, Disk, Maker, choose, root};
use lookout::update::{Card, Slot};

/// A configuration whose page nobody listens at.
fn config(disk: &Disk) -> OsString {
    let path = disk.path("lookout.toml");
    let text = "[[camera]]\nname = \"c\"\nsource = \"folder:.\"\n[web]\nlisten = \"127.0.0.1:9\"\n";
    fs::write(&path, text).unwrap();
    path.into()
}

fn update(disk: &Disk, verb: &str, more: &[&str]) -> cli::Run {
    let mut args: Vec<OsString> = ["update", verb].map(OsString::from).into();
    args.extend(more.iter().map(OsString::from));
    args.extend(["--card".into(), disk.path("card.toml").into()]);
    args.extend(["--config".into(), config(disk)]);
    cli::lookout(args)
}

fn install(disk: &Disk, maker: &Maker, file: &Path, more: &[&str]) -> cli::Run {
    let key = maker.path("vendor.pub").display().to_string();
    update(disk, "install", &[&[file.to_str().unwrap(), "--trusted-key", &key], more].concat())
}

/// What becomes of a member, by its name and bytes.
type Change<'a> = &'a dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>;

/// The members of an update, packed again with some left out or changed.
fn repack(from: &Path, to: &Path, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) {
    let mut archive = tar::Builder::new(fs::File::create(to).unwrap());
    for entry in tar::Archive::new(fs::File::open(from).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if let Some(bytes) = change(&name, bytes) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &bytes[..]).unwrap();
        }
    }
    archive.into_inner().unwrap();
}

#[test]
fn what_is_not_what_somebody_trusted_made_is_refused_before_a_byte_is_written() {
    let (disk, maker, stranger) = (Disk::new(), Maker::new(), Maker::new());
    let good = maker.update("qemu-virt", "0.2.0", &root(b'n'));
    let before = disk.all();
    let refused = |name: &str, words: &[&str], change: Change| {
        let path = maker.path(&format!("{name}.update"));
        repack(&good, &path, change);
        install(&disk, &maker, &path, &[]).bad(1, words);
        assert!(disk.all() == before, "{name}: something was written");
    };
    let flipped = |wanted: &'static str| {
        move |name: &str, mut bytes: Vec<u8>| {
            if name == wanted {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Some(bytes)
        }
    };
    refused("unsigned", &["is refused", "it is not signed"], &|name, bytes| {
        (!name.ends_with("minisig")).then_some(bytes)
    });
    refused("manifest", &["update.toml is not what was signed"], &flipped("update.toml"));
    refused("root", &["root.img is not what was signed", "damaged"], &flipped("root.img"));
    refused("no-root", &["cut short"], &|name, bytes| (name != "root.img").then_some(bytes));
    refused("shorter-root", &["cut short"], &|name, mut bytes| {
        bytes.truncate(if name == "root.img" { 1_000_000 } else { bytes.len() });
        Some(bytes)
    });
    refused("no-manifest", &["no update.toml"], &|name, bytes| (name != "update.toml").then_some(bytes));
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    archive.append_data(&mut header, "etc/passwd", &b"root"[..]).unwrap();
    let other = maker.path("other.update");
    fs::write(&other, archive.into_inner().unwrap()).unwrap();
    install(&disk, &maker, &other, &[]).bad(1, &["it is no whole update", "it holds \"etc/passwd\""]);
    let foreign = stranger.update("qemu-virt", "0.2.0", &root(b'n'));
    install(&disk, &maker, &foreign, &[]).bad(1, &["signed by a key that is not trusted here"]);
    assert!(disk.all() == before);
}

#[test]
fn an_update_that_is_cut_short_anywhere_is_refused() {
    let (disk, maker) = (Disk::new(), Maker::new());
    let good = fs::read(maker.update("qemu-virt", "0.2.0", &root(b'n'))).unwrap();
    let before = disk.all();
    let path = maker.path("cut.update");
    for length in [0, 1, 511, 512, 700, 1024, 1536, 2048, 2600, 3000, 500_000, 2_500_000] {
        fs::write(&path, &good[..length]).unwrap();
        let refused = install(&disk, &maker, &path, &[]).bad(1, &["is refused"]);
        assert!(disk.all() == before, "{length}: {}", refused.err);
    }
    install(&disk, &maker, Path::new("/nowhere.update"), &[]).bad(1, &["/nowhere.update cannot be opened"]);
}

#[test]
fn an_older_version_another_board_and_a_system_that_does_not_fit_are_refused() {
    let (disk, maker) = (Disk::new(), Maker::new());
    let before = disk.all();
    let older = maker.update("qemu-virt", "0.0.9", &root(b'n'));
    install(&disk, &maker, &older, &[]).bad(1, &["0.0.9 is older than 0.1.0, which runs", "--allow-older"]);
    let other = maker.update("raspberry-pi", "0.2.0", &root(b'n'));
    install(&disk, &maker, &other, &[]).bad(1, &["for the board raspberry-pi, and this is qemu-virt"]);
    let large = maker.update("qemu-virt", "0.3.0", &vec![0; common::SLOT_BYTES as usize + 1]);
    install(&disk, &maker, &large, &[]).bad(1, &["4194305 bytes", "a slot of this card has 4194304"]);
    assert!(disk.all() == before);
    install(&disk, &maker, &older, &["--allow-older"]).good();
}

#[test]
fn an_update_while_an_update_runs_is_refused() {
    let (disk, maker) = (Disk::new(), Maker::new());
    let good = maker.update("qemu-virt", "0.2.0", &root(b'n'));
    let before = disk.all();
    let lock = Card::read(&disk.path("card.toml")).unwrap().lock().unwrap();
    install(&disk, &maker, &good, &[]).bad(1, &["another update is under way"]);
    update(&disk, "back", &[]).bad(1, &["another update is under way"]);
    assert!(disk.all() == before);
    drop(lock);
    install(&disk, &maker, &good, &[]).good();
}

#[test]
fn a_good_update_is_told_tried_and_not_confirmed_by_a_daemon_that_is_silent() {
    let (disk, maker) = (Disk::new(), Maker::new());
    let good = maker.update("qemu-virt", "0.2.0", &root(b'n'));
    let told = install(&disk, &maker, &good, &["--json"]).good().json();
    assert_eq!((&told["version"], &told["slot"]), (&"0.2.0".into(), &"b".into()));
    assert!(fs::read(disk.path("b")).unwrap().starts_with(&root(b'n')));
    assert!(fs::read(disk.path("a")).unwrap() == root(b'o'));
    let status = update(&disk, "status", &["--json"]).good().json();
    assert_eq!((&status["running"], &status["confirmed"]), (&"a".into(), &true.into()));
    assert_eq!((&status["slots"][1]["state"], &status["slots"][1]["tries"]), (&"trying".into(), &2.into()));
    // Still slot A: another update may take the place of this one.
    install(&disk, &maker, &maker.update("qemu-virt", "0.3.0", &root(b'm')), &[]).good();

    assert_eq!(choose(&disk).0, "b");
    disk.runs("b");
    install(&disk, &maker, &good, &["--allow-older"]).bad(1, &["0.3.0 in slot b runs and is not confirmed yet"]);
    let before = disk.all();
    update(&disk, "confirm", &["--within", "1s"]).bad(1, &["the daemon did not answer in 1 s"]);
    assert!(disk.all() == before, "nothing is confirmed");
    assert!(!disk.path("confirmed").exists());
    let status = update(&disk, "status", &[]).good();
    assert!(
        status.out.contains("slot b  0.3.0            runs  trying, booted 1 more times at most"),
        "{}",
        status.out
    );
}

#[test]
fn a_system_that_was_confirmed_needs_no_daemon_and_one_can_go_back_from_it() {
    let (disk, maker) = (Disk::new(), Maker::new());
    update(&disk, "back", &[]).bad(1, &["slot b holds none"]);
    assert!(update(&disk, "confirm", &[]).good().out.contains("0.1.0 in slot a is confirmed already"));
    install(&disk, &maker, &maker.update("qemu-virt", "0.2.0", &root(b'n')), &[]).good();
    choose(&disk);
    disk.runs("b");
    disk.records().write(|record| (record.good, record.trying) = (Slot::B, None)).unwrap();
    assert!(update(&disk, "back", &[]).good().out.contains("0.1.0 is in slot a and is tried at the next start"));
    assert_eq!(choose(&disk), ("a".into(), "try, 1 left".into()));
}

#[test]
fn a_system_that_no_image_is_and_one_without_a_key_say_so() {
    let (disk, maker) = (Disk::new(), Maker::new());
    let good = maker.update("qemu-virt", "0.2.0", &root(b'n'));
    cli::lookout(["update", "status"]).bad(1, &["not made by `lookout flash image`", "apt install"]);
    update(&disk, "install", &[good.to_str().unwrap()]).bad(1, &["update-keys"]);
    let key = maker.path("vendor.pub").display().to_string();
    fs::write(disk.path("card.toml"), "disk = 1").unwrap();
    update(&disk, "install", &[good.to_str().unwrap(), "--trusted-key", &key]).bad(1, &["not made by"]);
}

#[test]
fn the_command_makes_what_it_installs_with_minisigns_own_keys() {
    let (disk, maker) = (Disk::new(), Maker::new());
    fs::write(maker.path("system.img"), root(b'n')).unwrap();
    let made = |out: &Path, version: &str| {
        let args = [
            "update",
            "make",
            maker.path("system.img").to_str().unwrap(),
            "--board",
            "qemu-virt",
            "--version",
            version,
        ]
        .map(OsString::from);
        let rest = ["--key".into(), maker.path("vendor.key").into(), "--out".into(), out.into()];
        cli::lookout(args.into_iter().chain(rest).collect::<Vec<OsString>>())
    };
    let out = maker.path("made.update");
    made(&out, "0.2.0").good();
    made(&out, "0.2.0").bad(1, &["is there already"]);
    made(&maker.path("bad.update"), "0.2 \n").bad(2, &["no version"]);
    install(&disk, &maker, &out, &[]).good();
}

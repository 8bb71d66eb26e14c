//! What the tests of updates share: a card made of files, the script that chooses a slot, and updates to install.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use lookout::bundle::{KeyPair, SigningKey, Trust};
use lookout::update::{Record, Records, make};

/// Bytes of a slot of the card made of files.
pub const SLOT_BYTES: u64 = 4 << 20;

/// A card in a folder: `disk`, `a`, `b`, and `card.toml`.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// With version 0.1.0 in slot A.
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(at("disk")).unwrap();
        disk.set_len(6 << 20).unwrap();
        Records::make(&mut disk, &Record::new("qemu-virt", "0.1.0")).unwrap();
        fs::write(at("a"), root(b'o')).unwrap();
        fs::write(at("b"), []).unwrap();
        File::options().write(true).open(at("b")).unwrap().set_len(SLOT_BYTES).unwrap();
        let shown = |name: &str| at(name).display().to_string();
        let text = format!("disk = {:?}\na = {:?}\nb = {:?}\nslot = \"a\"\n", shown("disk"), shown("a"), shown("b"));
        fs::write(at("card.toml"), text).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn open(&self) -> File {
        File::options().read(true).write(true).open(self.path("disk")).unwrap()
    }

    pub fn records(&self) -> Records<File> {
        Records::open(self.open(), "card").unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("disk")).unwrap()
    }

    pub fn set(&self, bytes: &[u8]) {
        fs::write(self.path("disk"), bytes).unwrap();
    }

    /// Everything that an update may write.
    pub fn all(&self) -> [Vec<u8>; 3] {
        ["disk", "a", "b"].map(|name| fs::read(self.path(name)).unwrap())
    }

    /// From now on the other slot runs.
    pub fn runs(&self, slot: &str) {
        let path = self.path("card.toml");
        let text = fs::read_to_string(&path).unwrap();
        let kept = text.rsplit_once("slot = ").unwrap().0;
        fs::write(&path, format!("{kept}slot = {slot:?}\n")).unwrap();
    }
}

/// The file system of a slot, for as much as anybody looks into it.
pub fn root(fill: u8) -> Vec<u8> {
    (0..2_500_000u32).map(|at| fill ^ (at % 251) as u8).collect()
}

/// Keys, and a folder to put updates into.
pub struct Maker {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Maker {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pair = KeyPair::new(None).unwrap();
        fs::write(folder.path().join("vendor.pub"), pair.public).unwrap();
        fs::write(folder.path().join("vendor.key"), pair.secret).unwrap();
        let key = SigningKey::read(&folder.path().join("vendor.key"), || unreachable!()).unwrap();
        Self { folder, key }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn trust(&self) -> Trust {
        Trust::read([self.path("vendor.pub").to_str().unwrap()]).unwrap()
    }

    /// An update with this version, for this board.
    pub fn update(&self, board: &str, version: &str, root: &[u8]) -> PathBuf {
        let (from, to) = (self.path("root.img"), self.path(&format!("{board}-{version}.update")));
        fs::write(&from, root).unwrap();
        make(&from, board, version, &self.key, &to).unwrap();
        to
    }
}

/// What the first program of a board boots now: the slot, and why.
pub fn choose(disk: &Disk) -> (String, String) {
    let said = shell(disk, "choose_slot \"$DISK\"; echo \"$slot|$why\"");
    let (slot, why) = said.trim().split_once('|').expect("a slot and a reason");
    (slot.to_owned(), why.to_owned())
}

/// Runs a script after `boards/image/slots.sh`, in the shell that a board has.
pub fn shell(disk: &Disk, script: &str) -> String {
    let slots = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/image/slots.sh");
    // Debian's busybox-static prefers its own tools only where a name is looked up by itself, as on a board.
    let all = format!(". {}\n{script}", slots.display());
    let output = Command::new("busybox")
        .args(["sh", "-c", &all])
        .env("DISK", disk.path("disk"))
        .output()
        .expect("busybox is there: apt-get install busybox-static");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

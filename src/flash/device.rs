//! The block devices of this machine, as the kernel tells of them in `/sys`, and what each is used for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Code, Error, Result};

/// What `size` in `/sys` counts in, whatever the device's own sectors are.
const SECTOR: u64 = 512;

/// The largest that the SD standard knows: 2 TiB. Whatever is larger is no card.
const MOST_BYTES: u64 = 2 << 40;

/// Mount points of what a running system needs.
const SYSTEM: [&str; 5] = ["/", "/boot", "/boot/firmware", "/boot/efi", "/usr"];

/// Devices that hold no medium of their own.
const VIRTUAL: [&str; 5] = ["ram", "zram", "loop", "dm-", "md"];

/// A whole block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `/dev/sdb`
    pub path: PathBuf,
    /// What its maker calls it.
    pub model: String,
    /// Its size in bytes; 0 where a reader holds no card.
    pub bytes: u64,
    /// Whether the medium can be taken out. Readers of memory cards may say no.
    pub removable: bool,
    /// Whether it cannot be written, as by a card's lock.
    pub read_only: bool,
    /// Where it or its partitions are mounted, and what else holds them.
    pub used_by: Vec<String>,
    /// Whether this machine runs from it.
    pub system: bool,
}

impl Device {
    /// The devices that have a medium of their own, by name.
    pub fn list() -> Result<Vec<Self>> {
        let entries = fs::read_dir("/sys/block").map_err(|error| {
            let message = format!("the devices cannot be listed: {error}");
            Error::new(Code::Input, message, "this needs Linux, with /sys mounted")
        })?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !VIRTUAL.iter().any(|kind| name.starts_with(kind)));
        names.sort();
        let uses = Uses::read();
        Ok(names.iter().map(|name| Self::read(name, &uses)).filter(|device| device.bytes > 0).collect())
    }

    /// The device at `path`. Errors where it is something else, or a partition.
    pub fn at(path: &Path) -> Result<Self> {
        let shown = path.display();
        let refuse = |cause: String, help: &str| Err(Error::new(Code::Input, format!("{shown} {cause}"), help));
        let choose = "see what there is: lookout flash list";
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) => return refuse(format!("cannot be opened: {error}"), choose),
        };
        if !meta.file_type().is_block_device() {
            return refuse("is no block device".to_owned(), choose);
        }
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let Ok(node) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
            return refuse("is not known to the kernel".to_owned(), "take it out and put it in again");
        };
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if node.join("partition").exists() {
            let whole = node.parent().map(name).unwrap_or_default();
            return refuse(
                "is a partition, and an image is a whole card".to_owned(),
                &format!("write to /dev/{whole}"),
            );
        }
        Ok(Self { path: path.to_owned(), ..Self::read(&name(&node), &Uses::read()) })
    }

    /// Refuses a device that must not be written, or on which an image of `image_bytes`, or its partitions, which take
    /// `room` bytes, do not fit.
    pub(super) fn check(&self, image_bytes: u64, room: u64) -> Result<()> {
        let refuse = |cause: String, help: String| {
            Err(Error::new(Code::Input, format!("{} {cause}", self.path.display()), help))
        };
        let another = "choose another: lookout flash list".to_owned();
        if self.system {
            return refuse(format!("is what this machine runs from ({})", self.used_by.join(", ")), another);
        }
        if !self.used_by.is_empty() {
            let help = format!("free it first, for example: umount {}*", self.path.display());
            return refuse(format!("is in use ({})", self.used_by.join(", ")), help);
        }
        if self.bytes == 0 {
            return refuse("holds no card".to_owned(), "put one in".to_owned());
        }
        if self.bytes > MOST_BYTES {
            return refuse(format!("has {}, more than any memory card", size(self.bytes)), another);
        }
        if self.read_only {
            return refuse("cannot be written".to_owned(), "is the lock of the card on?".to_owned());
        }
        if image_bytes > self.bytes {
            let cause = format!("is too small: it has {} bytes, the image {image_bytes}", self.bytes);
            return refuse(cause, "take a larger card".to_owned());
        }
        if room > self.bytes {
            let cause = format!(
                "is too small: it has {} bytes, the image {image_bytes}, and its partitions take {room}",
                self.bytes
            );
            return refuse(cause, format!("take a card of {} or more", size(room)));
        }
        Ok(())
    }

    /// Model and size, for people.
    pub fn describe(&self) -> String {
        let kind = if self.removable { "" } else { ", not removable" };
        format!("{}, {}{kind}", self.model, size(self.bytes))
    }

    /// Whether the kernel still knows it.
    pub(super) fn is_there(&self) -> bool {
        Self::at(&self.path).is_ok_and(|now| now.bytes == self.bytes)
    }

    fn read(name: &str, uses: &Uses) -> Self {
        let folder = Path::new("/sys/block").join(name);
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned();
        let model = ["device/model", "device/name", "dm/name", "loop/backing_file"]
            .map(text)
            .into_iter()
            .find(|model| !model.is_empty())
            .unwrap_or_else(|| "no name".to_owned());
        let (used_by, system) = uses.of(&folder);
        Self {
            path: Path::new("/dev").join(name),
            model,
            bytes: text("size").parse::<u64>().unwrap_or(0).saturating_mul(SECTOR),
            removable: text("removable") == "1",
            read_only: text("ro") == "1",
            used_by,
            system,
        }
    }
}

/// Bytes in the unit that is printed on cards.
pub(super) fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes => format!("{:.1} MB", bytes / 1e6),
    }
}

/// What is mounted and swapped to, by `major:minor`.
struct Uses(Vec<(String, String)>);

impl Uses {
    fn read() -> Self {
        let mut uses = Vec::new();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let mut fields = line.split(' ').skip(2);
            if let (Some(number), Some(place)) = (fields.next(), fields.nth(1)) {
                uses.push((number.to_owned(), place.to_owned()));
            }
        }
        for line in fs::read_to_string("/proc/swaps").unwrap_or_default().lines().skip(1) {
            if let Some(meta) = line.split_whitespace().next().and_then(|path| fs::metadata(path).ok()) {
                let device = if meta.file_type().is_block_device() { meta.rdev() } else { meta.dev() };
                uses.push((format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)), "swap".to_owned()));
            }
        }
        Self(uses)
    }

    /// What the device of this folder of `/sys`, its partitions, and whatever is built on them are used for; and whether
    /// the system is among it.
    fn of(&self, folder: &Path) -> (Vec<String>, bool) {
        let mut found = BTreeSet::new();
        self.gather(folder, &mut found);
        let system = found.iter().any(|place| place == "swap" || SYSTEM.contains(&place.as_str()));
        (found.into_iter().collect(), system)
    }

    fn gather(&self, folder: &Path, found: &mut BTreeSet<String>) {
        let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
        found.extend(self.0.iter().filter(|(of, _)| of == number.trim()).map(|(_, place)| place.clone()));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                self.gather(&entry.path(), found);
            }
        }
        for holder in fs::read_dir(folder.join("holders")).into_iter().flatten().flatten() {
            let name = holder.file_name().to_string_lossy().into_owned();
            let before = found.len();
            self.gather(&Path::new("/sys/block").join(&name), found);
            if found.len() == before {
                found.insert(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Device {
        Device {
            path: "/dev/sdx".into(),
            model: "SD Card".into(),
            bytes: 32_000_000_000,
            removable: true,
            read_only: false,
            used_by: Vec::new(),
            system: false,
        }
    }

    #[test]
    fn a_card_that_is_free_and_large_enough_is_taken() {
        card().check(32_000_000_000, 32_000_000_000).unwrap();
        assert_eq!(card().describe(), "SD Card, 32.0 GB");
    }

    #[test]
    fn each_device_that_must_not_be_written_is_refused_with_the_cause() {
        for (device, image, room, cause) in [
            (Device { system: true, used_by: vec!["/".into()], ..card() }, 1, 1, "this machine runs from (/)"),
            (Device { used_by: vec!["/media/card".into()], ..card() }, 1, 1, "in use (/media/card)"),
            (Device { bytes: 0, ..card() }, 1, 1, "holds no card"),
            (Device { bytes: 4_000_000_000_000, ..card() }, 1, 1, "more than any memory card"),
            (Device { read_only: true, ..card() }, 1, 1, "cannot be written"),
            (card(), 32_000_000_001, 32_000_000_001, "too small"),
            (card(), 1, 32_000_000_001, "its partitions take 32000000001"),
        ] {
            let error = device.check(image, room).unwrap_err();
            assert!(error.message().contains(cause), "{error}");
            assert!(!error.help().is_empty());
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for (path, cause) in
            [("/dev/null", "no block device"), ("/etc", "no block device"), ("/dev/nowhere", "cannot be")]
        {
            let error = Device::at(Path::new(path)).unwrap_err();
            assert!(error.message().contains(cause), "{error}");
        }
    }
}

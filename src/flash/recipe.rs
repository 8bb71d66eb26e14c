//! What an image is made by: the files of `boards/image`, which the program carries.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

macro_rules! files {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("../../boards/", $path)))),*] };
}

const FILES: [(&str, &str); 15] = files![
    "debian/emulate.sh",
    "image/build.sh",
    "image/init",
    "image/qemu-virt.sh",
    "image/raspberry-pi.sh",
    "image/slots.sh",
    "image/root/etc/ssh/sshd_config.d/lookout.conf",
    "image/root/etc/systemd/journald.conf.d/lookout.conf",
    "image/root/etc/systemd/network/80-lookout.network",
    "image/root/etc/systemd/system.conf.d/lookout.conf",
    "image/root/etc/systemd/system/lookout.service.d/image.conf",
    "image/root/etc/systemd/system/systemd-udev-trigger.service.d/image.conf",
    "image/root/usr/lib/systemd/system/lookout-confirm.service",
    "image/root/usr/lib/systemd/system/lookout-settings.service",
    "image/root/usr/lib/systemd/system/ssh.service.d/lookout.conf",
];

/// A board that an image can be made for.
#[derive(Debug)]
pub(super) struct Board {
    pub name: &'static str,
    /// The daemon's configuration.
    pub config: &'static str,
}

/// All of them.
pub(super) const BOARDS: [Board; 2] = [
    Board { name: "qemu-virt", config: include_str!("../../boards/qemu-virt/lookout.toml") },
    Board { name: "raspberry-pi", config: include_str!("../../boards/raspberry-pi/image.toml") },
];

/// The tools that it needs, and the packages of Debian that they are in.
pub(super) const TOOLS: [(&str, &str); 8] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("chroot", "coreutils"),
];

/// What another machine's programs run in while its system is made, and what mmdebstrap asks whether they do.
pub(super) const EMULATOR: [(&str, &str); 2] =
    [("qemu-aarch64-static", "qemu-user-static"), ("arch-test", "arch-test")];

/// Writes the files into `folder`.
pub(super) fn unpack(folder: &Path) -> io::Result<()> {
    for (path, text) in FILES {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)?;
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

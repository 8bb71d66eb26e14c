#!/bin/bash
# Makes what an image consists of: the file system of a slot, and the files of the boot partition. Needs root.
# usage: boards/image/build.sh WORK CACHE
# `lookout flash image` runs it. In WORK there must be board (a name), version, lookout.deb, lookout.toml, and keys/. There
# will be root.img (a slot), and boot/. What Debian gives is kept in CACHE. A line `stage TEXT` begins each part.
set -euo pipefail

# What is mounted here goes with this script, however it ends.
[ -n "${LOOKOUT_ALONE:-}" ] || LOOKOUT_ALONE=1 exec unshare --mount "$0" "$@"

here=$(cd "$(dirname "$0")" && pwd)
work=$1 cache=$2
board=$(cat "$work/board") version=$(cat "$work/version")
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
suite=bookworm
packages=systemd,systemd-sysv,systemd-timesyncd,systemd-resolved,dbus,udev,kmod,iproute2,e2fsprogs,wpasupplicant,openssh-server,ca-certificates,login
stage() { echo "stage $*"; }
. "$here/$board.sh"

# From where this machine's own apt takes Debian; `extra_components` are what the board's firmware lies in.
sources=$work/debian.sources
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
  sed "s/^Components:.*/Components: main ${extra_components:-}/" /etc/apt/sources.list.d/debian.sources > "$sources"
else
  sources=$work/sources.list
  sed -n "s/^deb \(.* $suite[^ ]*\) .*/deb \1 main ${extra_components:-}/p" /etc/apt/sources.list > "$sources"
fi
grep -q "$suite" "$sources" || { echo "this machine's apt knows no Debian $suite" >&2; exit 1; }

# fetch VARIANT PACKAGES OUT.tar: once.
fetch() {
  [ ! -s "$3" ] || return 0
  rm -f "$3".*.part.tar
  mmdebstrap --quiet --mode=root --architectures=arm64 --variant="$1" --include="$2" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' --dpkgopt='path-exclude=/usr/share/bash-completion/*' \
    --dpkgopt='path-exclude=/usr/share/zsh/*' --dpkgopt='path-exclude=/usr/share/fish/*' \
    "$suite" "$3.$$.part.tar" "$sources"
  mv "$3.$$.part.tar" "$3"
}
mkdir -p "$cache"
stage 'fetching the kernel'
kernel_tar=$cache/kernel-$board.tar
fetch extract "linux-image-arm64,busybox-static${firmware_packages:+,$firmware_packages}" "$kernel_tar"
stage "making a Debian $suite for arm64 (some minutes, the first time)"
root_tar=$cache/root-$(echo "$packages" | sha256sum | cut -c 1-12).tar
fetch essential "$packages" "$root_tar"

kernel=$work/kernel
mkdir -p "$kernel" "$work/boot"
tar -xf "$kernel_tar" -C "$kernel" --exclude='./dev/*'
release=$(ls "$kernel/lib/modules")
from=$kernel/lib/modules/$release
depmod -b "$kernel" "$release"
# with_dependencies MODULE...: the files, in the order in which they can be loaded.
with_dependencies() {
  for module in "$@"; do
    line=$(grep -E "/${module//[-_]/[-_]}\.ko:" "$from/modules.dep") || continue
    echo "${line#*:}" | tr ' ' '\n' | tac
    echo "${line%%:*}"
  done | awk 'NF && !seen[$0]++'
}

stage 'packing the kernel and the first program'
gzip -9n < "$kernel/boot/vmlinuz-$release" > "$work/boot/vmlinuz"
initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/modules"
cp "$kernel/bin/busybox" "$initrd/bin/"
cp "$here/init" "$here/slots.sh" "$initrd/"
chmod 755 "$initrd/init"
with_dependencies $initrd_modules loop squashfs overlay ext4 crc32c_generic vfat nls_cp437 nls_ascii |
  while read -r file; do
    cp "$from/$file" "$initrd/modules/"
    basename "$file"
  done > "$initrd/modules/order"
(cd "$initrd" && find . -print0 | sort -z | cpio --quiet -0 -R 0:0 -o -H newc | gzip -9n) > "$work/boot/initrd.img"
drivers=$work/drivers/$release
mkdir -p "$drivers"
cp "$from"/modules.builtin* "$from/modules.order" "$drivers/"
with_dependencies $modules autofs4 | while read -r file; do
  mkdir -p "$drivers/$(dirname "$file")"
  cp "$from/$file" "$drivers/$file"
done
mkdir -p "$work/drivers-root/lib"
ln -s "$work/drivers" "$work/drivers-root/lib/modules"
depmod -b "$work/drivers-root" "$release"
mksquashfs "$work/drivers" "$work/boot/modules.img" -quiet -no-progress -all-root -comp zstd -mkfs-time 0 -all-time 0 >/dev/null

stage 'installing lookout'
root=$work/root
mkdir -p "$root"
tar -xf "$root_tar" -C "$root" --exclude='./dev/*'
mount -t proc proc "$root/proc"
inside() { chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
cp "$work/lookout.deb" "$root/tmp/lookout.deb"
inside dpkg -i /tmp/lookout.deb > "$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; exit 1; }
rm "$root/tmp/lookout.deb"
install -m 644 "$work/lookout.toml" "$root/etc/lookout/lookout.toml"
mkdir -p "$root/etc/lookout/update-keys"
find "$work/keys" -name '*.pub' -exec install -m 644 -t "$root/etc/lookout/update-keys" {} +
printf 'IMAGE_ID=lookout-%s\nIMAGE_VERSION=%s\n' "$board" "$version" >> "$root/usr/lib/os-release"
cp -r "$here/root/." "$root/"
board_root "$root"
inside systemctl --quiet enable lookout.service lookout-settings.service lookout-confirm.service \
  systemd-networkd.service systemd-resolved.service systemd-timesyncd.service ssh.socket
inside systemctl --quiet disable systemd-networkd-wait-online.service ssh.service
# What a board without disks, consoles and users of its own need not start.
inside systemctl --quiet mask systemd-firstboot.service ldconfig.service systemd-journal-catalog-update.service \
  systemd-update-done.service systemd-hwdb-update.service systemd-sysusers.service systemd-random-seed.service \
  systemd-update-utmp.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
  systemd-ask-password-console.path systemd-ask-password-wall.path wpa_supplicant.service kmod-static-nodes.service \
  systemd-update-utmp-runlevel.service systemd-pstore.service systemd-remount-fs.service \
  dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer serial-getty@.service getty@.service \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
  modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
# The one that knows of logins is started when somebody asks for it, as `reboot` does.
rm "$root/usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service"
# Nor what makes units, and asks every device what it is. What is left of udev loads drivers, and gives groups and names.
mkdir -p "$root/etc/systemd/system-generators" "$root/etc/udev/rules.d"
for generator in cryptsetup fstab getty gpt-auto hibernate-resume integritysetup rc-local system-update sysv veritysetup; do
  ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
for rules in 55-dm 60-block 60-cdrom_id 60-drm 60-evdev 60-fido-id 60-infiniband 60-input-id 60-persistent-alsa \
  60-persistent-input 60-persistent-storage 60-persistent-storage-dm 60-persistent-storage-tape 60-sensor 64-btrfs \
  70-joystick 70-memory 70-mouse 70-power-switch 70-touchpad 70-uaccess 71-seat 73-seat-late 75-probe_mtd 78-sound-card \
  85-hwclock 95-dm-notify 96-e2scrub; do
  ln -s /dev/null "$root/etc/udev/rules.d/$rules.rules"
done
# The daemon waits for no network, which it asks for again and again, nor for the clock.
sed -e '/^After=network-online.target/d; /^Wants=network-online.target/d' \
  -e 's/^\[Service\]/DefaultDependencies=no\nAfter=local-fs.target systemd-tmpfiles-setup.service lookout-settings.service systemd-modules-load.service\nConflicts=shutdown.target\nBefore=shutdown.target\n\n&/' \
  "$root/lib/systemd/system/lookout.service" > "$root/etc/systemd/system/lookout.service"
grep -q '^DefaultDependencies=no' "$root/etc/systemd/system/lookout.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
echo lookout > "$root/etc/hostname"
rm -f "$root/etc/fstab"
: > "$root/etc/machine-id"
rm -rf "$root"/etc/ssh/ssh_host_* "$root"/var/cache/* "$root"/var/log/* "$root"/var/lib/apt/lists/* \
  "$root"/var/lib/lookout-bundle/* "$root"/usr/share/man/* "$root"/usr/share/doc/* "$root"/usr/lib/modules "$root"/boot/*
mkdir -p "$root/usr/lib/modules" "$root/boot/firmware" "$root/data" "$root/var/log" "$root/var/cache" \
  "$root/var/lib/systemd/timesync"
inside chown systemd-timesync: /var/lib/systemd/timesync

umount "$root/proc"

stage 'packing the slot'
mksquashfs "$root" "$work/root.img" -quiet -no-progress -comp zstd -Xcompression-level 9 -b 128K -mkfs-time 0 >/dev/null
board_boot "$work/boot" "$kernel"

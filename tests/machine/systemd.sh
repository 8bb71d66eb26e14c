#!/bin/sh
# Runs boards/lookout.service in an emulated machine: a small Debian whose first process is systemd.
# usage: tests/machine/systemd.sh RELEASE [FOLDER]
# RELEASE holds `lookout` and `examples/machine`. Kernel and Debian are fetched once, and kept in FOLDER (target/machine).
set -eu

here=$(dirname "$0")
release=$1 kept=${2:-target/machine} append='systemd.getty_auto=no systemd.show_status=no'
. "$here/machine.sh"
fetch_kernel
if [ ! -f "$kept/debian.tar" ]; then
  mmdebstrap --quiet --variant=apt --include=systemd,systemd-sysv,udev,kmod,dbus \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$work/debian.tar"
  mv "$work/debian.tar" "$kept/debian.tar"
fi

root=$work/root
mkdir -p "$root/etc/lookout" "$root/etc/udev/rules.d" "$root/usr/share/lookout" "$root/srv/pictures"
tar -x -C "$root" --exclude='./dev/*' --exclude='./usr/share/zoneinfo/*' -f "$kept/debian.tar"
cp -r "$kept/lib/modules" "$root/usr/lib/"
add_program "$root" "$release/lookout" /usr/bin/lookout
add_program "$root" "$release/examples/machine" /usr/bin/machine
cp -rL "$here/../../models/default" "$root/usr/share/lookout/default"
cp "$here/../../models/demo.jpg" "$root/srv/pictures/"
cp "$here/../../boards/lookout.service" "$root/etc/systemd/system/"
cp "$here/../../boards/60-lookout-gpio.rules" "$root/etc/udev/rules.d/"
cp "$here/systemd-guest.sh" "$root/usr/bin/check"
chmod -R go+rX "$root/usr/share/lookout" "$root/srv" "$root/etc/lookout"
echo machine >"$root/etc/hostname"
echo gpio:x:997: >>"$root/etc/group"
: >"$root/etc/fstab"
cat >"$root/etc/systemd/system/check.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=idle
ExecStart=/usr/bin/check
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/$console
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../check.service "$root/etc/systemd/system/multi-user.target.wants/check.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# A file system of its own, as the first one cannot be the root of a sandbox.
cp "$(command -v busybox)" "$root/busybox"
cat >"$root/init" <<'INIT'
#!/busybox sh
/busybox mkdir /new
/busybox mount -t tmpfs -o size=80% tmpfs /new
for part in bin etc home lib lib32 lib64 libx32 opt root sbin srv usr var; do
  [ ! -e /$part ] || /busybox mv /$part /new/
done
/busybox mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp
exec /busybox switch_root /new /lib/systemd/systemd
INIT
chmod +x "$root/init" "$root/usr/bin/check"
# Two serial lines with their ends together.
boot "$root" 2048 1800 'SYSTEMD PASSED' -serial mon:stdio \
  -chardev "socket,id=one,path=$work/line,server=on,wait=off" -serial chardev:one \
  -chardev "socket,id=other,path=$work/line,reconnect=1" -serial chardev:other

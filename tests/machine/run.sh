#!/bin/sh
# Runs a program in an emulated machine with a camera, GPIO, a card and a serial line: Debian's kernel, and its drivers.
# usage: [ONLY="NAME..."] tests/machine/run.sh PROGRAM [FOLDER]
# The kernel is fetched once, by apt, and what is needed of it is kept in FOLDER (target/machine).
set -eu

here=$(dirname "$0")
program=$1 kept=${2:-target/machine} append=
. "$here/machine.sh"
fetch_kernel

# The whole system: busybox, the modules, the program, and the bundle.
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
cp -r "$kept/lib" "$root/"
cp -rL "$here/../../models/default" "$root/bundle"
add_program "$root" "$program" /bin/program
echo "${ONLY:-}" >"$root/only"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug
modprobe vivid n_devs=1 node_types=0x1
modprobe uhid
modprobe hid-cp2112
modprobe virtio_pci
modprobe virtio_blk
RUST_BACKTRACE=1 /bin/program $(cat /only)
poweroff -f
INIT
chmod +x "$root/init"
truncate -s 64M "$work/card"
# What comes on the serial line: XOFF, as long as there is an emulator.
mkfifo "$work/line.in" "$work/line.out"
timeout 900 sh -c 'while printf "\023" 2>/dev/null; do sleep 0.1; done' >"$work/line.in" &
boot "$root" 768 900 'MACHINE PASSED' -drive "if=none,id=card,file=$work/card,format=raw" -device virtio-blk-pci,drive=card \
  -chardev "pipe,id=line,path=$work/line" -device pci-serial,chardev=line

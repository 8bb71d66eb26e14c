#!/bin/bash
# Boots an image on QEMU's machine `raspi3b`, as a card of 1 GB that is made beside it.
# usage: boards/raspberry-pi/emulated.sh IMAGE [CARD] [QEMU-OPTION...]
# What the kernel says is on this terminal (Ctrl-A X ends it), and the daemon's serial line is the pseudo-terminal that QEMU
# names.
set -euo pipefail

source "$(dirname "$0")/../emulated_card.sh" 1G vmlinuz initrd.img cmdline.txt bcm2837-rpi-3-b.dtb -- "$@"
# The first serial line belongs to Bluetooth, and only the kernel's own messages can be had there.
line="$(cat "$boot/cmdline.txt") loglevel=7 earlycon=pl011,mmio32,0x3f201000 keep_bootcon"
# The watchdog that QEMU emulates starts the board again in the moment in which it is set, however long it is set to.
line="$line systemd.watchdog_sec=off"
qemu-system-aarch64 -M raspi3b -display none -kernel "$boot/vmlinuz" -initrd "$boot/initrd.img" \
  -dtb "$boot/bcm2837-rpi-3-b.dtb" -append "$line" -drive "if=sd,file=$card,format=raw" \
  -serial "${CONSOLE:-mon:stdio}" -chardev "${LINE:-pty},id=line" -serial chardev:line "${options[@]}"

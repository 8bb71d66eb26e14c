#!/bin/bash
# Boots an image on QEMU's machine `virt`, as a card of 2 GB that is made beside it.
# usage: boards/qemu-virt/run.sh IMAGE [CARD] [QEMU-OPTION...]
# The console is on this terminal (Ctrl-A X ends it), and the daemon's serial line is the pseudo-terminal that QEMU names.
set -euo pipefail

source "$(dirname "$0")/../emulated_card.sh" 2G vmlinuz initrd.img cmdline.txt -- "$@"
qemu-system-aarch64 -M virt -cpu "${CPU:-cortex-a76}" -smp 2 -m 1024 -display none \
  -kernel "$boot/vmlinuz" -initrd "$boot/initrd.img" -append "$(cat "$boot/cmdline.txt")" \
  -drive "if=none,id=card,file=$card,format=raw" -device virtio-blk-pci,drive=card \
  -serial "${CONSOLE:-mon:stdio}" -chardev "${LINE:-pty},id=line" -device pci-serial,chardev=line "${options[@]}"

#!/bin/sh
# Lets this kernel run programs for arm64 or armhf, in chroots too; needs root. Does nothing where that is so already.
# usage: boards/debian/emulate.sh [ARCH]; arm64 where nothing is said
set -eu

# The class of ELF file, and the machine that it is for.
case ${1:-arm64} in
  arm64) emulator=qemu-aarch64 class=02 machine=b7 ;;
  armhf) emulator=qemu-arm class=01 machine=28 ;;
  *) echo "boards/debian/emulate.sh: knows arm64 and armhf, not $1" >&2; exit 1 ;;
esac
registry=/proc/sys/fs/binfmt_misc
[ -e $registry/register ] || mount -t binfmt_misc binfmt_misc $registry
[ ! -e $registry/$emulator ] || exit 0
# The head of an ELF file, and which bits of it count. F: the emulator is opened now, so that it is found inside a chroot.
magic="\\x7fELF\\x$class\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\x$machine\\x00"
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":$emulator:M::$magic:$mask:$(command -v $emulator-static):OCF" > $registry/register

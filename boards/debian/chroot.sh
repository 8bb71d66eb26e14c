#!/bin/sh
# Makes the file system of a fresh Debian 12 with systemd, once; needs root.
# usage: boards/debian/chroot.sh ARCH OUT.tar
set -eu

arch=$1 out=$2
[ ! -s "$out" ] || exit 0
if [ "$(id -u)" != 0 ]; then echo "boards/debian/chroot.sh: only root can make a file system of another machine" >&2; exit 1; fi
if [ "$arch" != "$(dpkg --print-architecture)" ]; then "$(dirname "$0")/emulate.sh"; fi
mkdir -p "$(dirname "$out")"
echo "making a fresh Debian 12 for $arch"
mmdebstrap --quiet --mode=root --architectures="$arch" --variant=minbase --include=systemd,systemd-sysv,udev \
  --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$out.part.tar"
mv "$out.part.tar" "$out"

#!/bin/sh
# Makes the file system of a fresh Debian 12 with systemd, once; needs root.
# usage: boards/debian/chroot.sh ARCH OUT.tar
set -eu

arch=$1 out=$2
[ ! -s "$out" ] || exit 0
if [ "$(id -u)" != 0 ]; then echo "boards/debian/chroot.sh: only root can make a file system of another machine" >&2; exit 1; fi
if [ "$arch" != "$(dpkg --print-architecture)" ]; then "$(dirname "$0")/emulate.sh" "$arch"; fi
mkdir -p "$(dirname "$out")"
echo "making a fresh Debian 12 for $arch"
# The release as it is, from where this machine's own apt takes it: what came later is not needed to try a package, and its index
# is not always whole for each architecture.
from=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Codename: bookworm' | head -1)
mmdebstrap --quiet --mode=root --architectures="$arch" --variant=minbase --include=systemd,systemd-sysv,udev \
  --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$out.part.tar" ${from:+"deb $from bookworm main"}
mv "$out.part.tar" "$out"

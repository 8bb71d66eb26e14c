#!/bin/sh
# Makes the package of a program that is built already.
# usage: boards/debian/build.sh ARCH PROGRAM NATIVE OUT [VERSION]
# COMPRESSION=gzip is quicker than the usual xz, and larger.
# NATIVE is the same program for this machine, which prints the man page and the completions.
set -eu

arch=$1 program=$2 native=$3 out=$4
here=$(dirname "$0")
root=$here/../..
version=${5:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)}
date=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

put() { install -D -m "${3:-644}" "$1" "$tree/$2"; }
pack() { mkdir -p "$tree/$(dirname "$1")"; gzip -9n > "$tree/$1"; }

put "$program" usr/bin/lookout 755
for file in "$root"/models/default/*; do put "$file" "usr/share/lookout/models/default/$(basename "$file")"; done
put "$here/lookout.toml" etc/lookout/lookout.toml
put "$root/boards/lookout.toml" usr/share/doc/lookout/examples/lookout.toml
put "$root/boards/lookout.service" lib/systemd/system/lookout.service
put "$here/60-lookout.rules" lib/udev/rules.d/60-lookout.rules
put "$here/lookout.sysusers" usr/lib/sysusers.d/lookout.conf
put "$here/lookout.tmpfiles" usr/lib/tmpfiles.d/lookout.conf
put "$here/copyright" usr/share/doc/lookout/copyright
put "$here/lookout.overrides" usr/share/lintian/overrides/lookout

"$native" man | pack usr/share/man/man1/lookout.1.gz
"$native" completions bash > "$tree/completion"
put "$tree/completion" usr/share/bash-completion/completions/lookout
"$native" completions zsh > "$tree/completion"
put "$tree/completion" usr/share/zsh/vendor-completions/_lookout
"$native" completions fish > "$tree/completion"
put "$tree/completion" usr/share/fish/vendor_completions.d/lookout.fish
rm "$tree/completion"

maintainer='The lookout contributors <maintainers@users.noreply.github.com>'
{
  echo "lookout ($version) stable; urgency=medium"
  echo
  echo '  * See /usr/share/doc/lookout/copyright and the CHANGELOG.md of the source.'
  echo
  echo " -- $maintainer  $(date -R -u -d "@$date")"
} | pack usr/share/doc/lookout/changelog.gz

# What the program needs: the newest version of a symbol of the C library, and the other libraries.
glibc=$(readelf -V "$program" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -1)
depends="libc6 (>= $glibc)"
for library in $(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
  case $library in
    libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libutil.so.* | ld-linux*) ;;
    libgcc_s.so.1) depends="$depends, libgcc-s1" ;;
    *) echo "boards/debian/build.sh: $program needs $library, whose package is not known here" >&2; exit 1 ;;
  esac
done

mkdir "$tree/DEBIAN"
echo /etc/lookout/lookout.toml > "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) > "$tree/DEBIAN/md5sums"
chmod 644 "$tree/DEBIAN/conffiles" "$tree/DEBIAN/md5sums"
cat > "$tree/DEBIAN/control" <<CONTROL
Package: lookout
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: $depends, init-system-helpers (>= 1.51), systemd
Recommends: udev
Section: non-free/science
Priority: optional
Description: vision-language runtime for small boards
 Looks at pictures and cameras offline: labels them with your words, captions
 them, draws boxes around what you name, answers short questions, and says
 whether a sentence fits. A daemon watches cameras and tells what happens over
 MQTT, a serial line and a page. Runs in int8 on the processor.
 .
 The model bundle inside is for non-commercial research and education.
CONTROL
chmod 644 "$tree/DEBIAN/control"
find "$tree" -type d -exec chmod 755 {} +
find "$tree" -exec touch -h -d "@$date" {} +
mkdir -p "$out"
SOURCE_DATE_EPOCH=$date dpkg-deb --build --root-owner-group -Z"${COMPRESSION:-xz}" "$tree" "$out/lookout_${version}_$arch.deb" >/dev/null
echo "$out/lookout_${version}_$arch.deb"

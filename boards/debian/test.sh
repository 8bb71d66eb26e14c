#!/bin/bash
# Installs, runs, upgrades, removes and purges the package in a fresh Debian 12; needs root.
# usage: boards/debian/test.sh ARCH BASE.tar PACKAGE.deb NEWER.deb
set -euo pipefail

arch=$1 base=$2 package=$3 newer=$4
here=$(dirname "$0")
root=$(mktemp -d)
chmod 755 "$root"
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
trap 'echo "boards/debian/test.sh: line $LINENO failed" >&2' ERR

fail() { echo "boards/debian/test.sh ($arch): $*" >&2; exit 1; }
inside() { chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# All that is there, but for what dpkg, its logs and the list of users keep.
listing() {
  (cd "$root" && find etc usr var lib -xdev \( -path var/lib/dpkg -o -path var/log -o -path var/cache \) -prune -o -print |
    grep -vE '^etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$|^etc/ld.so.cache$|^var/lib/(systemd|private)(/|$)' | sort)
}

[ "$arch" = "$(dpkg --print-architecture)" ] || "$here/emulate.sh" "$arch"
tar -xf "$base" -C "$root"
mount -t proc proc "$root/proc"
cp "$package" "$root/tmp/package.deb"
cp "$newer" "$root/tmp/newer.deb"
cp "$here/../../models/demo.jpg" "$root/tmp/demo.jpg"
listing > "$root/tmp/before"

inside dpkg -i /tmp/package.deb >/dev/null
inside getent passwd lookout >/dev/null || fail 'there is no user lookout'
for group in video dialout gpio; do inside id -nG lookout | grep -qw $group || fail "lookout is not in $group"; done
inside lookout --version
inside lookout run --check -c /etc/lookout/lookout.toml | tail -1
inside lookout bundle check /var/lib/lookout-bundle/current | tail -1
inside lookout caption /tmp/demo.jpg
# This Debian is so small that it has neither a reader of manuals nor /bin/kill.
faults=$(inside systemd-analyze verify lookout.service 2>&1 | grep lookout | grep -vE "Command ('man|/bin/kill)" || true)
[ -z "$faults" ] || fail "the unit has faults: $faults"
switched() { inside systemctl is-enabled lookout.service 2>/dev/null || true; }
[ "$(switched)" = disabled ] || fail "it is not off: $(switched)"
for file in usr/share/man/man1/lookout.1.gz usr/share/bash-completion/completions/lookout lib/udev/rules.d/60-lookout.rules; do
  [ -s "$root/$file" ] || fail "$file is missing"
done

# A bundle that was installed, and a configuration that was changed, outlive an upgrade.
inside cp -r /usr/share/lookout/models/default /tmp/bundle
sed -i 's/^version = .*/version = "99"/' "$root/tmp/bundle/lookout.toml"
inside lookout bundle install /tmp/bundle
echo '# mine' >> "$root/etc/lookout/lookout.toml"
inside systemctl enable --quiet lookout.service
inside dpkg -i /tmp/newer.deb >/dev/null
grep -q '^# mine$' "$root/etc/lookout/lookout.toml" || fail 'the upgrade lost the configuration'
inside lookout bundle check /var/lib/lookout-bundle/current | head -1 | grep -q '@99+' || fail 'the upgrade lost the bundle'
[ "$(switched)" = enabled ] || fail 'the upgrade switched it off'
[ "$(inside dpkg-query -W -f '${Version}' lookout)" = "$(dpkg-deb -f "$newer" Version)" ] || fail 'nothing was upgraded'
inside dpkg -i /tmp/newer.deb >/dev/null
[ -z "$(inside dpkg --verify lookout | grep -v ' c /etc/lookout/lookout.toml')" ] || fail 'files differ from the package'

inside dpkg -r lookout >/dev/null
[ ! -e "$root/usr/bin/lookout" ] && [ -f "$root/etc/lookout/lookout.toml" ] || fail 'a removal takes the program, not the configuration'
inside dpkg -i /tmp/newer.deb >/dev/null
grep -q '^# mine$' "$root/etc/lookout/lookout.toml" || fail 'installed again, the configuration is lost'
inside dpkg -P lookout >/dev/null
listing > "$root/tmp/after"
diff "$root/tmp/before" "$root/tmp/after" || fail 'a purge leaves something behind'
echo "$arch: installed, upgraded, removed, purged"

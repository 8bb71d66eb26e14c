#!/bin/bash
# Boots the image of boards/qemu-virt in an emulated machine, updates it, breaks it, and cuts its power.
# usage: tests/machine/image.sh WORK IMAGE ROOT KEY CUTS
# WORK is an empty folder. IMAGE takes updates signed by KEY (NAME.key of `lookout bundle keygen`, without a password), and
# ROOT is the file system of its slot. CUTS is how often the power is cut. LOOKOUT is the program of this machine.
# A single machine runs at a time, on two processors.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$1 image=$2 root=$3 key=$4 cuts=$5
lookout=${LOOKOUT:-lookout}
PATH=$PATH:/usr/sbin:/sbin
port=$((20000 + $$ % 20000))
limit=${LIMIT:-900} # seconds that a boot may take on a loaded machine
pid= runner=

fail() {
  echo "FAILED: $*" >&2
  tail -30 "$work/console" >&2
  exit 1
}
say() { echo "ok $* (${SECONDS} s, load $(cut -d ' ' -f 1 /proc/loadavg))"; }
stop() {
  [ -z "$runner" ] || pkill -9 -P "$runner" 2>/dev/null || true
  [ -z "$runner" ] || wait "$runner" 2>/dev/null || true
  pid= runner=
}
trap stop EXIT

# boot: starts the machine. Its console goes to a file; `line` is the pseudo-terminal of its serial line.
boot() {
  : > "$work/console"
  : > "$work/qemu"
  CONSOLE=file:$work/console "$here/../../boards/qemu-virt/run.sh" "$image" "$work/card" -monitor none \
    -drive "if=none,id=updates,file=$work/updates.img,format=raw,readonly=on" -device virtio-blk-pci,drive=updates \
    -nic "user,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" > "$work/qemu" 2>&1 &
  runner=$!
  until line=$(grep -o '/dev/pts/[0-9]*' "$work/qemu"); do
    kill -0 $runner 2>/dev/null || { cat "$work/qemu" >&2; fail 'the machine does not start'; }
    sleep 0.1
  done
  pid=$(pgrep -P $runner qemu-system)
}
# wait_for WHAT COMMAND...
wait_for() {
  local what=$1 end=$((SECONDS + limit))
  shift
  until "$@" > "$work/last" 2>&1; do
    [ $SECONDS -lt $end ] || { cat "$work/last" >&2; fail "waited in vain: $what"; }
    kill -0 "$pid" 2>/dev/null || fail "the machine ended while waiting: $what"
    sleep 0.5
  done
}
caption() { timeout 130 "$lookout" query --serial "$line" --timeout 120s caption --json; }
answers() { wait_for 'a caption over the serial line' caption; }
inside() {
  timeout 400 ssh -q -i "$work/id" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ConnectTimeout=20 -o ServerAliveInterval=5 -o ServerAliveCountMax=6 root@127.0.0.1 "$@"
}
status() { inside lookout update status --json; }
is() { wait_for "$1" eval "status | tee $work/status | grep -q '$2'"; }
updates() { inside 'mkdir -p /run/updates && { mountpoint -q /run/updates || mount -o ro /dev/vdb /run/updates; }'; }
boots() { grep -ac 'lookout: slot' "$work/console" || true; }

# The settings: a name, and a key to log in with.
ssh-keygen -q -t ed25519 -N '' -f "$work/id"
printf 'hostname = "porch"\n[ssh]\nkeys = ["%s"]\n' "$(cat "$work/id.pub")" > "$work/settings.toml"
cp --sparse=always "$image" "$work/card"
truncate -s 2G "$work/card"
mcopy -n -o -i "$work/card@@8M" "$work/settings.toml" ::settings.toml

# Updates: the same system again, one whose model is missing, one that is no file system, and a changed one.
mkdir "$work/updates"
make_update() { # NAME VERSION ROOT
  "$lookout" update make "$3" --board qemu-virt --version "$2" --key "$key" --out "$work/updates/$1.update" > /dev/null
}
make_update good 99.1 "$root"
unsquashfs -q -n -d "$work/broken" "$root" > /dev/null
rm "$work/broken/usr/share/lookout/models/default/image.onnx"
sed -i 's/--within 4m/--within 20s/' "$work/broken/usr/lib/systemd/system/lookout-confirm.service"
mksquashfs "$work/broken" "$work/broken.img" -quiet -no-progress -comp gzip -Xcompression-level 1 > /dev/null
rm -rf "$work/broken"
make_update broken 99.2 "$work/broken.img"
rm "$work/broken.img"
head -c 1000000 /dev/urandom > "$work/noise.img"
make_update noise 99.3 "$work/noise.img"
cp "$work/updates/good.update" "$work/updates/changed.update"
printf X | dd of="$work/updates/changed.update" bs=1 seek=5000000 conv=notrunc status=none
mke2fs -q -t ext4 -d "$work/updates" "$work/updates.img" 800M > /dev/null
rm -r "$work/updates"

begin=$(date +%s.%N)
boot
answers
took=$(echo "$(date +%s.%N) - $begin" | bc)
grep -o '"caption":"[^"]*"' "$work/last"
say "a picture of the camera is captioned over the serial line ${took%.*} s after power-on"

is 'slot a to be confirmed' '"running":"a","confirmed":true'
[ "$(inside hostname)" = porch ] || fail 'the hostname is not that of the settings'
inside 'test $(df --output=size -m /data | tail -1) -gt 1200' || fail 'the data partition is not as large as the card allows'
! inside 'touch /boot/firmware/x' 2>/dev/null || fail 'the boot partition can be written'
say 'the settings are in force, and the data partition has grown to the card'

updates
refused() { # NAME WORDS
  inside "lookout update install /run/updates/$1.update" > "$work/last" 2>&1 && fail "$1 was installed"
  grep -q "$2" "$work/last" || fail "$1: $(cat "$work/last")"
}
refused changed 'is not what was signed'
say 'a changed update is refused'

# The data partition full to the last byte.
inside 'dd if=/dev/zero of=/data/state/full bs=1M 2>/dev/null; sync' || true
stop
boot
answers
is 'slot a to be confirmed' '"running":"a","confirmed":true'
grep -aq 'is full: events are kept in memory' "$work/console" || fail 'it is not told that the data partition is full'
inside 'rm /data/state/full'
say 'a full data partition stops neither the start nor the daemon'

updates
inside lookout update install /run/updates/good.update --reboot || true
is 'the update to be confirmed' '"running":"b","confirmed":true'
answers
say 'a good update is installed, tried and confirmed'

updates
before=$(boots)
inside lookout update install /run/updates/broken.update --allow-older --reboot || true
wait_for 'the board to go back' grep -aq 'back: a was not confirmed' "$work/console"
answers
is 'slot b to run again' '"running":"b","confirmed":true'
grep -q '"slot":"a","version":"99.2","state":"failed"' "$work/status" || fail "it is not told: $(cat "$work/status")"
say "a system whose daemon does not answer is tried $(($(boots) - before - 1)) times, and the board goes back by itself"

updates
inside lookout update install /run/updates/noise.update --reboot || true
wait_for 'the noise to be given up' grep -aq 'slot b (a cannot be mounted)' "$work/console"
answers
is 'slot b to run again' '"running":"b","confirmed":true'
say 'what is no file system is given up at once'

# The power is cut at a random moment of: install, restart, try, confirm.
cut=0
while [ $cut -lt "$cuts" ]; do
  updates
  inside 'lookout update install /run/updates/good.update --allow-older --reboot' > "$work/install" 2>&1 &
  moment=$((RANDOM % (${SPAN:-60} * 10)))
  sleep $((moment / 10)).$((moment % 10))
  where=$(grep -ao 'lookout: slot.*' "$work/console" | tail -1 | tr -d '\r')
  stop
  wait $! 2>/dev/null || true
  boot
  answers
  is 'a system to be confirmed' '"confirmed":true'
  cut=$((cut + 1))
  say "power cut $cut of $cuts, after $((moment / 10)).$((moment % 10)) s [$where]: $(grep -ao 'lookout: slot.*' "$work/console" | tail -1 | tr -d '\r'), $(grep -o '"running":"."' "$work/status")"
done
echo 'IMAGE PASSED'

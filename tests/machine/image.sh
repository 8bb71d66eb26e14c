#!/bin/bash
# Boots the image of boards/qemu-virt in an emulated machine, updates it, and breaks it.
# usage: tests/machine/image.sh WORK IMAGE ROOT KEY PART...
# WORK is an empty folder. IMAGE takes updates signed by KEY (NAME.key of `lookout bundle keygen`, without a password), and
# ROOT is the file system of its slot. PART is what is tried after the first start, in this order: refuse full good broken
# noise. LOOKOUT is the program of this machine. A single machine runs at a time, on two processors.
set -euo pipefail

work=$1 image=$2 root=$3 key=$4
shift 4
parts=" $* "
. "$(dirname "$0")/board.sh"
wants() { [[ $parts == *" $1 "* ]]; }
status() { inside lookout update status --json; }
install() { inside "$updates && lookout update install /run/updates/$1.update ${2:-}"; }
boots() { grep -ac 'lookout: slot' "$work/console" || true; }

new_card "$image"
# Updates: the same system again, one whose model is missing, one that is no file system, and a changed one.
if wants good || wants refuse; then make_update good 99.1 "$root" "$key"; fi
if wants refuse; then
  cp "$work/updates/good.update" "$work/updates/changed.update"
  printf X | dd of="$work/updates/changed.update" bs=1 seek=5000000 conv=notrunc status=none
fi
if wants broken; then
  unsquashfs -q -n -d "$work/broken" "$root" > /dev/null
  rm "$work/broken/usr/share/lookout/models/default/image.onnx"
  sed -i 's/--within 4m/--within 20s/' "$work/broken/usr/lib/systemd/system/lookout-confirm.service"
  mksquashfs "$work/broken" "$work/broken.img" -quiet -no-progress -comp gzip -Xcompression-level 1 > /dev/null
  rm -rf "$work/broken"
  make_update broken 99.2 "$work/broken.img" "$key"
  rm "$work/broken.img"
fi
if wants noise; then
  head -c 1000000 /dev/urandom > "$work/noise.img"
  make_update noise 99.3 "$work/noise.img" "$key"
fi
pack_updates

begin=$(date +%s%N)
boot
answers
took=$((($(date +%s%N) - begin) / 1000000000))
grep -o '"caption":"[^"]*"' "$work/last" || fail "that is no caption: $(cat "$work/last")"
account
say "a picture of the camera is captioned over the serial line $took s after power-on, $((ran / 1000)) s of the emulator's processor time"

settles 'slot a to be confirmed'
[ "$(inside hostname)" = porch ] || fail 'the hostname is not that of the settings'
said=$(status)
[[ $said == *'"running":"a","confirmed":true'* ]] || fail "the board says something else than its card: $said"
inside 'test $(df --output=size -m /data | tail -1) -gt 1200' || fail 'the data partition is not as large as the card allows'
! inside 'touch /boot/firmware/x' 2>/dev/null || fail 'the boot partition can be written'
say 'the settings are in force, and the data partition has grown to the card'

if wants refuse; then
  install changed > "$work/last" 2>&1 && fail 'a changed update was installed'
  grep -q 'is not what was signed' "$work/last" || fail "a changed update: $(cat "$work/last")"
  say 'a changed update is refused'
fi

if wants full; then
  # To the last byte.
  inside 'dd if=/dev/zero of=/data/state/full bs=1M 2>/dev/null; sync' || true
  stop
  boot
  settles 'slot a to be confirmed'
  grep -aq 'is full: events are kept in memory' "$work/console" || fail 'it is not told that the data partition is full'
  inside 'rm /data/state/full'
  say 'a full data partition stops neither the start nor the daemon'
fi

if wants good; then
  install good --reboot > "$work/last" 2>&1 || true
  wait_for 'the update to be tried' grep -aq 'lookout: slot b (try' "$work/console"
  settles 'the update to be confirmed'
  [ "$(record good)" = b ] || fail "slot $(record good) runs: $(booted)"
  say 'a good update is installed, tried and confirmed'
fi

# What runs now, and what the next update is written to.
now_good=$(record good) tried=$(other "$(record good)")

if wants broken; then
  before=$(boots)
  install broken "--allow-older --reboot" > "$work/last" 2>&1 || true
  wait_for 'the board to go back' grep -aq "back: $tried was not confirmed" "$work/console"
  settles 'the slot before to run again'
  [ "$(record good) $(record failed)" = "$now_good $tried" ] || fail "it is not told: $(newest_record "$card"; echo "$record")"
  said=$(status)
  [[ $said == *"\"slot\":\"$tried\",\"version\":\"99.2\",\"state\":\"failed\""* ]] || fail "it does not say that the update failed: $said"
  times=$(($(boots) - before - 1))
  [ $times = 2 ] || fail "it was tried $times times"
  say 'a system whose daemon does not answer is tried 2 times, and the board goes back by itself'
fi

if wants noise; then
  install noise --reboot > "$work/last" 2>&1 || true
  wait_for 'the noise to be given up' grep -aq "slot $now_good ($tried cannot be mounted)" "$work/console"
  settles 'the slot before to run again'
  [ "$(record good) $(record failed)" = "$now_good $tried" ] || fail "it is not told: $(newest_record "$card"; echo "$record")"
  say 'what is no file system is given up at once'
fi
stop
echo 'IMAGE PASSED'

#!/bin/bash
# Boots the image of boards/raspberry-pi on QEMU's machine `raspi3b`, and asks it about a picture over its serial line.
# usage: tests/machine/pi.sh WORK IMAGE PICTURE
# WORK is an empty folder. LOOKOUT is the program of this machine.
set -euo pipefail

work=$1 image=$2 picture=$3
patience=${PATIENCE:-1200} # four emulated processors on what may be two
. "$(dirname "$0")/board.sh"

cp --sparse=always "$image" "$card"
truncate -s 1G "$card"
printf 'hostname = "porch"\n' > "$work/settings.toml"
mcopy -n -o -i "$card@@8M" "$work/settings.toml" ::settings.toml
expected=$("$lookout" caption "$picture" --json | grep -o '"caption":"[^"]*"')

begin=$(date +%s%N)
power_on "$here/../../boards/raspberry-pi/emulated.sh" "$image" "$card"
wait_for 'slot a to be chosen' grep -aq 'lookout: slot a (good)' "$work/console"
say 'the first program chooses slot A'
wait_for 'the status over the serial line' query status
say "the daemon answers $((($(date +%s%N) - begin) / 1000000000)) s after power-on: $(cat "$work/last")"
wait_for 'the caption of a picture that is sent over the serial line' query --picture "$picture" caption
answer=$(grep -o '"caption":"[^"]*"' "$work/last") || fail "that is no caption: $(cat "$work/last")"
[ "$answer" = "$expected" ] || fail "it says $answer, and this machine $expected"
say "a picture sent over the serial line has the caption that it has here: $answer"
[ "$(grep -ac 'lookout: slot' "$work/console")" = 1 ] || fail 'it started again meanwhile'
[ "$(record data)" = ready ] || fail 'the file system for data was not made'
stop
echo 'PI PASSED'

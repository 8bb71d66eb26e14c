#!/bin/bash
# Cuts the power of the board of boards/qemu-virt while it is updated, and sees it start again: a system that was confirmed,
# the old one or the new one, whole, and its daemon answers.
# usage: tests/machine/cuts.sh WORK IMAGE ROOT KEY CUTS
# The arguments are those of image.sh. WORK/log has a line for each cut. Where it has some already it is gone on with, until
# there are CUTS.
#
# A cut falls into one of four phases, in turn, at a random moment of it: while an update is installed; while the board goes
# down to try it; while it is tried; about when it is confirmed. A try begins without an installation two times of three, by
# `lookout update back`.
set -euo pipefail

work=$1 image=$2 root=$3 key=$4 cuts=$5
. "$(dirname "$0")/board.sh"
log=$work/log
phases=(install restart try confirm)
MIB=$((1 << 20))

# How long the phases last, in milliseconds, as the last whole one did.
declare -A lasts=([install]=20000 [restart]=5000 [try]=30000)
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
random() { echo $(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1))); } # FROM TO
rest() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# The system that the card calls good is what was installed, byte for byte.
bytes=$(stat -c %s "$root")
whole() {
  local from=$((72 * MIB))
  [ "$(record good)" = a ] || from=$((328 * MIB))
  cmp -s -n "$bytes" -i "$from:0" "$card" "$root"
}
alive() { query status > /dev/null && settled; }
# The state of the card, in a word for each phase.
state() {
  case $(record trying) in
    -) if [ "$(record "$(other "$(record good)")")" = - ]; then echo 'half written'; else echo 'at rest'; fi ;;
    *) echo "to be tried, $(record trying | cut -d ' ' -f 2) left" ;;
  esac
}
# start WAY: what makes the board try its other slot. Its end is not waited for.
start() {
  local command="$updates && echo begun && lookout update install /run/updates/good.update --allow-older --reboot"
  [ "$1" = install ] || command='echo begun && lookout update back --reboot'
  : > "$work/command"
  # Right after the start of a board it takes no connections yet.
  (until inside "$command" >> "$work/command" 2>&1 || is_begun; do sleep 1; done) &
  command_pid=$!
  wait_for 'the board to let us in' is_begun
}
is_begun() { grep -q begun "$work/command"; }
tries() { grep -ac 'lookout: slot . (try' "$work/console" || true; }
is_tried() { [ "$(record trying)" != - ]; }
starts_again() { [ "$(tries)" -gt "$tries_before" ]; }
is_confirmed() { [ "$(record good)" != "$good_before" ]; }

if [ ! -s "$card" ]; then
  new_card "$image"
  make_update good 99.1 "$root" "$key"
  pack_updates
  : > "$log"
fi
done_before=$(grep -c '^cut' "$log" || true)
[ "$done_before" -lt "$cuts" ] || echo "$log has $done_before cuts already"

boot
wait_for 'the board to start' alive
# One update that nothing disturbs: how long the phases last here, and a slot to go back to.
if [ "$done_before" -lt "$cuts" ]; then
  good_before=$(record good) tries_before=$(tries)
  start install
  begin=$(milliseconds)
  wait_for 'the update to be installed' is_tried
  lasts[install]=$(($(milliseconds) - begin)) begin=$(milliseconds)
  wait_for 'the update to be tried' starts_again
  lasts[restart]=$(($(milliseconds) - begin)) begin=$(milliseconds)
  wait_for 'the update to be confirmed' is_confirmed
  lasts[try]=$(($(milliseconds) - begin))
  wait_for 'the update to answer' alive
  wait $command_pid 2>/dev/null || true
  whole || fail 'the confirmed system is not what was installed'
  say "an update: ${lasts[install]} ms to install, ${lasts[restart]} ms down, ${lasts[try]} ms tried"
fi

for ((cut = done_before + 1; cut <= cuts; cut++)); do
  phase=${phases[cut % 4]}
  good_before=$(record good) tries_before=$(tries)
  way=back
  aside=$(other "$good_before")
  if [ $phase = install ] || [ $((cut / 4 % 3)) = 0 ] || [ "$(record "$aside")" = - ] || [ "$(record failed)" = "$aside" ]; then
    way=install
  fi
  start $way
  case $phase in
    install) moment=$(random 0 "${lasts[install]}") ;;
    restart) wait_for 'the try to be written down' is_tried; moment=$(random 0 "${lasts[restart]}") ;;
    try) wait_for 'the try to begin' starts_again; moment=$(random 0 "${lasts[try]}") ;;
    confirm) wait_for 'the try to begin' starts_again; moment=$(random $((lasts[try] * 8 / 10)) "${lasts[try]}") ;;
  esac
  begin=$(milliseconds)
  # A confirmation is waited for half of the times, and the power cut within a second of it.
  if [ $phase = confirm ] && [ $((RANDOM % 2)) = 0 ]; then
    wait_for 'the confirmation' is_confirmed
    rest "$(random 0 1000)"
  else
    rest "$moment"
  fi
  at="$(state), $(booted)"
  stop
  took=$(($(milliseconds) - begin))
  kill $command_pid 2>/dev/null || true
  wait $command_pid 2>/dev/null || true
  boot
  wait_for "a confirmed system after a cut in $phase" alive
  whole || fail "after a cut in $phase: slot $(record good) is not what was installed"
  if [ "$(record good)" = "$good_before" ]; then which=old; else which=new; fi
  echo "cut $cut $phase by $way, $took ms on [$at]: [$(booted)] $which" >> "$log"
  say "$(tail -1 "$log")"
done
stop
for phase in "${phases[@]}"; do
  echo "$phase: $(grep -c "^cut [0-9]* $phase" "$log" || true) cuts, $(grep -c "^cut [0-9]* $phase.* old$" "$log" || true) old, $(grep -c "^cut [0-9]* $phase.* new$" "$log" || true) new"
done
echo "CUTS PASSED: $(grep -c '^cut' "$log")"

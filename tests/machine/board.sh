# Sourced by image.sh, cuts.sh and pi.sh: an emulated board, which starts from a card. One at a time.
# Wants `work`, a folder that is there. LOOKOUT is the program of this machine. `card` is the card, `line` the pseudo-terminal
# of the board's serial line, and $work/console its console.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lookout=${LOOKOUT:-lookout}
PATH=$PATH:/usr/sbin:/sbin
card=$work/card
port=$((20000 + $$ % 20000))
patience=${PATIENCE:-420} # seconds that a wait may take, see `wait_for`
pid='' runner='' passed=0 now=0 ran=0 waited=0
. "$here/../../boards/image/slots.sh"

fail() {
  echo "FAILED: $*" >&2
  tail -30 "$work/console" >&2
  exit 1
}
say() { echo "ok $* (${SECONDS} s, load $(cut -d ' ' -f 1 /proc/loadavg))"; }
stop() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  [ -z "$runner" ] || wait "$runner" 2>/dev/null || true
  pid='' runner=''
}
trap stop EXIT

# power_on COMMAND...: it starts the emulator, whose options are CONSOLE's and what is given.
power_on() {
  : > "$work/console"
  : > "$work/qemu"
  CONSOLE=file:$work/console "$@" -monitor none > "$work/qemu" 2>&1 &
  runner=$!
  until line=$(grep -o '/dev/pts/[0-9]*' "$work/qemu"); do
    kill -0 $runner 2>/dev/null || { cat "$work/qemu" >&2; fail 'the machine does not start'; }
    sleep 0.1
  done
  pid=$(pgrep -P $runner qemu-system) || { cat "$work/qemu" >&2; fail 'the machine ended at once'; }
}
# boot: the board of boards/qemu-virt, with $work/updates.img as a second disk.
boot() {
  power_on "$here/../../boards/qemu-virt/run.sh" "$work/image" "$card" \
    -drive "if=none,id=updates,file=$work/updates.img,format=raw,readonly=on" -device virtio-blk-pci,drive=updates \
    -nic "user,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22"
}

# Sets `passed` to the milliseconds since the last call in which the emulator had a processor or wanted none. Where it
# waits for one because others are at work, that does not count, and neither does a machine that stands still.
account() {
  local last=$now ran_last=$ran waited_last=$waited
  read -r now _ < /proc/uptime
  now=${now/./}0
  read -r ran waited < <(cat /proc/"$pid"/task/*/schedstat 2>/dev/null |
    awk '{ ran += $1; waited += $2 } END { printf "%d %d\n", ran / 1e6, waited / 1e6 }')
  passed=$((now - last < 60000 ? now - last : 60000))
  if [ $ran -gt $ran_last ] && [ $waited -gt $waited_last ]; then
    passed=$((passed * (ran - ran_last) / (ran - ran_last + waited - waited_last)))
  fi
}
# wait_for WHAT COMMAND...: until it succeeds, or so much time has passed for the board.
wait_for() {
  local what=$1 left=$((patience * 1000))
  shift
  account
  until "$@" > "$work/last" 2>&1; do
    kill -0 "$pid" 2>/dev/null || fail "the machine ended while waiting: $what"
    account
    left=$((left - passed))
    [ $left -gt 0 ] || { cat "$work/last" >&2; fail "waited in vain: $what"; }
    sleep 0.3
  done
}

query() { timeout 130 "$lookout" query --serial "$line" --timeout 120s --json "$@"; }
answers() { wait_for 'a caption over the serial line' query caption; }
inside() {
  timeout 400 ssh -q -i "$work/id" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ConnectTimeout=20 -o ServerAliveInterval=5 -o ServerAliveCountMax=6 root@127.0.0.1 "$@"
}
updates='mkdir -p /run/updates && { mountpoint -q /run/updates || mount -o ro /dev/vdb /run/updates; }'
booted() { grep -ao 'lookout: slot.*' "$work/console" | tail -1 | tr -d '\r'; }
# record FIELD: of the card's newest record, read from outside as the board wrote it.
record() { (newest_record "$card" && field "$1"); }
# The system that was started last is one that was confirmed, and the card says so.
settled() {
  local slot
  slot=$(booted | sed 's/lookout: slot \(.\).*/\1/')
  [ -n "$slot" ] && [ "$(record good)" = "$slot" ] && [ "$(record trying)" = - ]
}
# The daemon answers before the board takes connections.
settles() { # WHAT
  answers
  wait_for "$1" settled
  wait_for 'the board to let us in' inside true
}

# new_card IMAGE: with the name of a host, and a key to log in with.
new_card() {
  ln -sf "$(realpath "$1")" "$work/image"
  ssh-keygen -q -t ed25519 -N '' -f "$work/id"
  printf 'hostname = "porch"\n[ssh]\nkeys = ["%s"]\n' "$(cat "$work/id.pub")" > "$work/settings.toml"
  cp --sparse=always "$1" "$card"
  truncate -s 2G "$card"
  mcopy -n -o -i "$card@@8M" "$work/settings.toml" ::settings.toml
}
# make_update NAME VERSION ROOT KEY: into $work/updates. pack_updates: the disk of them.
make_update() {
  mkdir -p "$work/updates"
  "$lookout" update make "$3" --board qemu-virt --version "$2" --key "$4" --out "$work/updates/$1.update" > /dev/null
}
pack_updates() {
  mke2fs -q -t ext4 -d "$work/updates" "$work/updates.img" 800M > /dev/null
  rm -r "$work/updates"
}

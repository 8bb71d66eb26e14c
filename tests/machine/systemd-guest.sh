#!/bin/bash
# What runs inside the emulated machine of tests/machine/systemd.sh.
set -u

say() { echo "ok $* ($SECONDS s)"; }
fail() {
  echo "FAILED: $*"
  systemctl status lookout --no-pager --lines 0
  ls -l /dev/gpiochip* /dev/ttyS1 /dev/video* /etc/udev/rules.d
  udevadm test /sys/bus/gpio/devices/gpiochip0 2>&1 | tail -20; getent group gpio
  journalctl -u lookout -u adapter --no-pager -o short-monotonic | tail -60
  exit 1
}
# wait_for WHAT COMMAND...: until it succeeds, four minutes at most.
wait_for() {
  local what=$1 end=$((SECONDS + 240))
  shift
  until "$@" 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "waited in vain: $what"
    sleep 0.2
  done
}
state() { systemctl show -p "$1" --value lookout; }
is() { [ "$(state "$1")" = "$2" ]; }
ask() { lookout query --http http://127.0.0.1:8040 "$@" --json; }
says() { ask status | grep -q "$1"; }
events() { lookout find --events --json --top 500 -c /etc/lookout/lookout.toml; }
bell() { grep -q "^\[$1" /run/lines; }

# GPIO: an adapter, and the group that may use it.
modprobe -a uhid hid-cp2112
systemd-run --quiet --unit=adapter /usr/bin/machine adapter /run/lines
wait_for 'a GPIO chip' test -e /dev/gpiochip0
udevadm settle
mkdir -p /etc/systemd/system/lookout.service.d
cat >/etc/systemd/system/lookout.service.d/test.conf <<UNIT
[Service]
SupplementaryGroups=gpio
UNIT
systemctl daemon-reload
cat >/etc/lookout/lookout.toml <<TOML
device = "machine"
threads = 1
bundle = "/usr/share/lookout/default"
[web]
listen = "127.0.0.1:8040"
[serial]
port = "/dev/ttyS1"
[board.outputs]
bell = { chip = "/dev/gpiochip0", line = 0 }
[[camera]]
name = "folder"
source = "folder:/srv/pictures?loop=1"
fps = 1
[[camera]]
name = "vivid"
source = "v4l2:///dev/video0"
fps = 1
stall = "20s"
[[trigger]]
name = "dog"
when = "a dog"
threshold = 0.3
caption = false
gpio = "bell"
cameras = ["folder"]
TOML

# A fault: never ready.
sed -i 's/^bell = /ball = /' /etc/lookout/lookout.toml
if systemctl start lookout; then fail 'it was started with a configuration that makes no sense'; fi
journalctl -u lookout --no-pager | grep -q 'GPIO output "bell"' || fail 'the journal does not say why'
systemctl stop lookout
sed -i 's/^ball = /bell = /' /etc/lookout/lookout.toml
systemctl reset-failed lookout
say 'a configuration that makes no sense is told, and the unit is not active'

systemctl start --no-block lookout
seen=
until is ActiveState active; do
  seen="$seen $(state ActiveState)"
  ! is NRestarts 1 || fail 'it does not start'
done
case $seen in *activating*) ;; *) fail "it was never activating:$seen" ;; esac
says '"device":"machine"' || fail 'it is active and does not answer'
say 'it is activating as long as it loads, and answers once it is active'

pid=$(state MainPID)
# Its user is made when it starts, and is known by its number alone without libnss-systemd.
[ "$(stat -c %u "/proc/$pid")" -ge 61184 ] || fail "it runs as $(stat -c %u "/proc/$pid")"
for row in 'NoNewPrivs:.1' 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000' 'Seccomp:.2'; do
  grep -q "^$row" "/proc/$pid/status" || fail "not $row: $(cat "/proc/$pid/status")"
done
wait_for 'an event from the camera that is a folder' eval 'events | grep -q "\"trigger\":\"dog\""'
[ -f /var/lib/private/lookout/events.db ] || fail "the memory is elsewhere: $(ls /var/lib/private/lookout)"
say 'the folder and the database can be had in the sandbox'
wait_for 'the GPIO output to be on' bell true
say 'GPIO can be had'
wait_for 'an answer on the serial line' eval 'lookout query --serial /dev/ttyS2 label --labels "a dog, a cat" --json | grep -q "\"a dog\""'
say 'the serial line can be had'
# As when somebody plugs it in: nothing knew of such devices when the service started.
modprobe vivid n_devs=1 node_types=0x1
wait_for 'the camera' eval 'ask status | grep -q "\"name\":\"vivid\"[^}]*\"state\":\"running\""'
say 'a camera that is plugged in later can be had'

systemctl kill --signal=KILL lookout
wait_for 'a restart' is NRestarts 1
wait_for 'it to be ready' is ActiveState active
[ "$(state MainPID)" != "$pid" ] || fail 'it is the same process'
wait_for 'the end of the event that was under way' eval 'events | grep -q "\"phase\":\"end\""'
wait_for 'the GPIO output to be on again' bell true
say 'kill -9: started again, and the event has its end'

systemctl kill --signal=STOP lookout
wait_for 'the watchdog' is NRestarts 2
wait_for 'it to be ready' is ActiveState active
journalctl -u lookout --no-pager | grep -q 'Watchdog timeout' || fail 'the journal does not name the watchdog'
wait_for 'the GPIO output to be on again' bell true
say 'stuck: the watchdog starts it again'

pid=$(state MainPID)
printf '[[trigger]]\nname = "bus"\nwhen = "a red bus"\n' >>/etc/lookout/lookout.toml
systemctl reload lookout || fail 'reload fails'
wait_for 'the new trigger' says '"name":"bus"'
echo 'fsp = 5' >>/etc/lookout/lookout.toml
systemctl reload lookout || fail 'reload fails'
wait_for 'the complaint' eval 'journalctl -u lookout --no-pager | grep -q "the old configuration stays in force"'
is ActiveState active && is MainPID "$pid" && is NRestarts 2 || fail 'it was started again'
says '"name":"bus"' || fail 'the old configuration is not in force'
sed -i '$d' /etc/lookout/lookout.toml
bell true || fail 'the event ended'
say 'SIGHUP: read anew by the same process, and kept where the new one makes no sense'

begin=$(date +%s%3N)
systemctl stop lookout
took=$(($(date +%s%3N) - begin))
# A unit that has ended is forgotten, with its result: the journal knows it.
journalctl -u lookout --no-pager | tail -3 | grep -q 'Deactivated successfully' || fail 'it was killed, or ended in error'
! events | grep -o '"phase":"[a-z]*"' | grep -qv end || fail "events without an end: $(events)"
bell false || fail 'the GPIO output is still on'
say "stopped in $took ms: events ended and on the disk, output off"
echo 'SYSTEMD PASSED'

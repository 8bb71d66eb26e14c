#!/bin/bash
# Asks another machine's program and this machine's the same questions on emulated processors, and compares the answers.
# usage: EMULATOR=qemu-aarch64-static boards/debian/answers.sh PROGRAM NATIVE-PROGRAM ROOT CPU...
# ROOT is where the program's C library lies. QUICK=1 compares labels and boxes on the processors after the first one.
set -euo pipefail

program=$1 native=$2 root=$3
shift 3
picture=models/demo.jpg
questions() { # PROGRAM...
  "$@" label $picture --labels 'a dog, a cat, a bicycle, a car, an empty room' --json --bundle models/default --threads 1
  "$@" ground $picture 'a dog' --json --bundle models/default --threads 1
  [ -n "${short:-}" ] || "$@" caption $picture --json --bundle models/default --threads 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
questions "$native" > "$work/native"
for cpu in "$@"; do
  begin=$SECONDS
  questions "$EMULATOR" -cpu "$cpu" -L "$root" "$program" > "$work/emulated"
  python3 "$(dirname "$0")/answers.py" "$work/native" "$work/emulated" "$cpu" "$((SECONDS - begin))"
  [ -z "${QUICK:-}" ] || short=1
done

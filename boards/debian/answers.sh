#!/bin/bash
# Asks the arm64 program and this machine's the same questions on emulated processors, and compares the answers.
# usage: boards/debian/answers.sh ARM64-PROGRAM NATIVE-PROGRAM ROOT CPU...
# ROOT is where the C library for arm64 lies. QUICK=1 compares labels and boxes on the processors after the first one.
set -euo pipefail

arm64=$1 native=$2 root=$3
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
  questions qemu-aarch64-static -cpu "$cpu" -L "$root" "$arm64" > "$work/arm64"
  python3 "$(dirname "$0")/answers.py" "$work/native" "$work/arm64" "$cpu" "$((SECONDS - begin))"
  [ -z "${QUICK:-}" ] || short=1
done

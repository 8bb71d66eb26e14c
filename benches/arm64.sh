#!/usr/bin/env bash
# Counts the instructions that 64-bit ARM processors execute for one run of the image tower, lookout against tract
# float32: no board is needed, and the numbers are the same on every machine. Writes arm64.json, which compare.py
# puts into its table. Builds everything once more for the other processor, which takes a while.
# Debian: qemu-user (the static one takes no plugins), a C compiler for both machines, benches/requirements.txt in $PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${BENCH_PYTHON:-benches/venv/bin/python}
bundle=${BUNDLE:-models/default}
target=aarch64-unknown-linux-gnu
work=benches/work

missing=()
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
if ((${#missing[@]})); then
  [ "$(id -u)" = 0 ] && sudo= || sudo=sudo
  $sudo apt-get update -q && $sudo apt-get install -qy --no-install-recommends "${missing[@]}"
fi
rustup target list --installed | grep -qx $target || rustup target add $target

"$python" benches/prepare.py "$bundle" $work >/dev/null
cc -O2 -Wall -Wextra -shared -fPIC -o $work/count.so benches/arm64_count.c
CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
  ${CARGO:-cargo} build --profile peers --locked --target $target --package lookout-bench --features ours,tract
built=${CARGO_TARGET_DIR:-target}/$target/peers

# counted CPU REQUESTS PROGRAM...: instructions that the program executes for these requests.
counted() {
  local cpu=$1 requests=$2
  shift 2
  printf "$requests" | qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$cpu" -d plugin -D $work/count.log -plugin $work/count.so "$@" >$work/replies.log
  if grep -q '^error' $work/replies.log; then cat $work/replies.log >&2; return 1; fi
  sed -n 's/^instructions //p' $work/count.log
}

# one_run CPU LOAD PROGRAM...: what one more run adds.
one_run() {
  local cpu=$1 load=$2 first second
  shift 2
  first=$(counted "$cpu" "$load\n" "$@")
  second=$(counted "$cpu" "$load\ntime 1\n" "$@")
  echo $((second - first))
}

entries=()
for pair in "cortex-a76:dot product" "cortex-a72:cortex-a72"; do
  cpu=${pair%%:*} name=${pair#*:}
  # Emulated, tract cannot read which processor it is on.
  case $cpu in cortex-a72) export TRACT_CPU_AARCH64_KIND=a72 ;; *) export TRACT_CPU_AARCH64_KIND=generic ;; esac
  kernel=$(qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$cpu" "$built/ours" kernel)
  ours=$(one_run "$cpu" "load image $bundle $work/pixels.f32" "$built/ours" 1)
  tract=$(one_run "$cpu" "load image $work/image.onnx $work/pixels.f32" "$built/peers" tract 1)
  echo "$cpu: lookout ($kernel) $ours, tract float32 $tract, ratio $(awk "BEGIN { printf \"%.3f\", $ours / $tract }")"
  entries+=("\"$name\": {\"cpu\": \"$cpu\", \"kernel\": \"$kernel\", \"lookout\": $ours, \"tract\": $tract}")
done
(IFS=,; printf '{%s}\n' "${entries[*]}") >benches/arm64.json

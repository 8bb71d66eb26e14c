#!/bin/sh
# Runs a program in an emulated machine with a camera: Debian's kernel, and its driver `vivid`.
# usage: tests/vivid/run.sh PROGRAM [FOLDER]
# The kernel is fetched once, by apt, and what is needed of it is kept in FOLDER (target/vivid).
set -eu

program=$1
kept=${2:-target/vivid}
case $(dpkg --print-architecture) in
  amd64) flavour=amd64 console=ttyS0 machine='qemu-system-x86_64 -M q35 -cpu max' ;;
  arm64) flavour=arm64 console=ttyAMA0 machine='qemu-system-aarch64 -M virt -cpu max' ;;
  *) echo "tests/vivid/run.sh: knows amd64 and arm64 only, not $(dpkg --print-architecture)" >&2; exit 1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel and the modules of vivid, in the order in which they are to be loaded.
if [ ! -f "$kept/order" ]; then
  package=$(apt-cache depends "linux-image-$flavour" | awk '/Depends: linux-image-/ { print $2; exit }')
  if [ -z "$package" ]; then
    echo "tests/vivid/run.sh: apt knows no linux-image-$flavour: run apt-get update" >&2
    exit 1
  fi
  echo "fetching $package"
  (cd "$work" && apt-get download -q "$package" >apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
  mkdir -p "$work/kernel"
  dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
    tar -x -C "$work/kernel" --wildcards './boot/vmlinuz-*' './lib/modules/*/kernel/drivers/media/*' \
      './lib/modules/*/kernel/drivers/video/*' './lib/modules/*/modules.*'
  version=$(ls "$work/kernel/lib/modules")
  modules=$work/kernel/lib/modules/$version
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/kernel" "$version"
  rm -rf "$kept"
  mkdir -p "$kept/modules"
  cp "$work/kernel/boot/vmlinuz-$version" "$kept/vmlinuz"
  # modules.dep names the last one needed first.
  line=$(grep '/vivid\.ko' "$modules/modules.dep" | tr -d ':')
  for module in $line; do echo "$module"; done | tac | while read -r module; do
    cp "$modules/$module" "$kept/modules/"
    basename "$module"
  done >"$work/order"
  mv "$work/order" "$kept/order"
fi

# The whole system: busybox, the modules, the program and the libraries that it needs.
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
cp -r "$kept/modules" "$kept/order" "$root/"
cp "$program" "$root/bin/program"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
while read -r module; do
  options=
  [ "$module" = vivid.ko ] && options='n_devs=1 node_types=0x1'
  insmod "/modules/$module" $options
done </order
RUST_BACKTRACE=1 /bin/program
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initrd.gz"

# Emulated throughout: the help of the processor is not to be had on every machine, and fails in its own ways.
# Nor is it checked that the timer ticks, which it may not on a loaded machine.
timeout 600 $machine -accel tcg -m 512 -smp 2 -nographic -no-reboot -nic none \
  -kernel "$kept/vmlinuz" -initrd "$work/initrd.gz" -append "console=$console quiet panic=-1 no_timer_check" \
  </dev/null 2>"$work/errors" | tee "$work/output" || true
if ! grep -q '^VIVID PASSED' "$work/output"; then
  cat "$work/errors" >&2
  echo 'tests/vivid/run.sh: the program did not pass, see above' >&2
  exit 1
fi

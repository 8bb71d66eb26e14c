# Read by the scripts beside it: an emulated machine with Debian's kernel. `kept` is the folder where things are kept.
case $(dpkg --print-architecture) in
  amd64) flavour=amd64 console=ttyS0 machine='qemu-system-x86_64 -M q35 -cpu max' ;;
  arm64) flavour=arm64 console=ttyAMA0 machine='qemu-system-aarch64 -M virt -cpu max' ;;
  *) echo "$0: knows amd64 and arm64 only, not $(dpkg --print-architecture)" >&2; exit 1 ;;
esac
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel and its drivers for a camera (vivid), for GPIO (hid-cp2112, with a program as the adapter by uhid) and for a
# card (virtio_blk), and the list by which modprobe finds them.
fetch_kernel() {
  if [ -f "$kept/vmlinuz" ] && grep -q virtio_blk "$kept"/lib/modules/*/modules.dep; then return; fi
  rm -rf "$kept/vmlinuz" "$kept/lib"
  package=$(apt-cache depends "linux-image-$flavour" | awk '/Depends: linux-image-/ { print $2; exit }')
  if [ -z "$package" ]; then
    echo "$0: apt knows no linux-image-$flavour: run apt-get update" >&2
    exit 1
  fi
  echo "fetching $package"
  (cd "$work" && apt-get download -q "$package" >apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
  mkdir -p "$work/kernel" "$kept"
  dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
    tar -x -C "$work/kernel" --wildcards './boot/vmlinuz-*' './lib/modules/*/kernel/drivers/media/*' \
      './lib/modules/*/kernel/drivers/video/*' './lib/modules/*/kernel/drivers/hid/*' \
      './lib/modules/*/kernel/drivers/virtio/*' './lib/modules/*/kernel/drivers/block/*' './lib/modules/*/modules.*'
  version=$(ls "$work/kernel/lib/modules")
  depmod -b "$work/kernel" "$version"
  from=$work/kernel/lib/modules/$version
  to=$kept/lib/modules/$version
  mkdir -p "$to"
  cp "$from"/modules.builtin* "$from/modules.order" "$to/"
  for wanted in vivid uhid hid-cp2112 virtio_pci virtio_blk; do
    for module in $(grep "/$wanted\.ko" "$from/modules.dep" | tr -d ':'); do
      mkdir -p "$to/$(dirname "$module")"
      cp "$from/$module" "$to/$module"
    done
  done
  depmod -b "$kept" "$version"
  mv "$work/kernel/boot/vmlinuz-$version" "$kept/vmlinuz"
}

# add_program ROOT PROGRAM PLACE: with the libraries that it needs.
add_program() {
  mkdir -p "$1$(dirname "$3")"
  cp "$2" "$1$3"
  ldd "$2" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$1$(dirname "$library")"
    [ -e "$1$library" ] || cp -L "$library" "$1$library"
  done
}

# boot ROOT MEGABYTES SECONDS SIGN [OPTION]...: runs what is in the folder ROOT, which must print SIGN in time.
boot() {
  root=$1 memory=$2 time=$3 sign=$4
  shift 4
  (cd "$root" && find . | cpio --quiet -R 0:0 -o -H newc | gzip -1) >"$work/initrd.gz"
  # Emulated throughout: the help of the processor is not to be had on every machine, and fails in its own ways.
  # Nor is it checked that the timer ticks, which it may not on a loaded machine.
  timeout "$time" $machine -accel tcg -m "$memory" -smp 2 -nographic -no-reboot -nic none \
    -kernel "$kept/vmlinuz" -initrd "$work/initrd.gz" \
    -append "console=$console quiet panic=-1 no_timer_check $append" "$@" \
    </dev/null 2>"$work/errors" | tee "$work/output" || true
  if ! grep -q "^$sign" "$work/output"; then
    cat "$work/errors" >&2
    echo "$0: it did not pass, see above" >&2
    exit 1
  fi
}

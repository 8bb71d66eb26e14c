# For scripts that boot an image in an emulator. Their arguments are IMAGE [CARD] [QEMU-OPTION...].
# usage: source emulated_card.sh SIZE FILE... -- "$@"
# Sets `card`, a copy of the image of that size, made beside it unless it is there; `boot`, a folder with these files of the boot
# partition, as a board's own firmware would read them, until the script ends; and `options`, the rest.
size=$1 files=()
shift
while [ "$1" != -- ]; do files+=("::$1"); shift; done
shift
image=${1:?"usage: $0 IMAGE [CARD] [QEMU-OPTION...]"} card=${2:-$1.card}
shift $(($# < 2 ? $# : 2))
[ -e "$card" ] || { cp --sparse=always "$image" "$card" && truncate -s "$size" "$card"; }
boot=$(mktemp -d)
trap 'rm -rf "$boot"' EXIT
mcopy -n -i "$card@@8M" "${files[@]}" "$boot/"
options=("$@")

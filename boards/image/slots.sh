# Which slot is booted. Read by `init`, the first program of the system, and by the tests; src/update/record.rs is the
# same in Rust, and says what each line of a record is for. Only what busybox has.
#
# There are two records, of one sector each and 4 MiB apart. The newer one counts, and the older one is written, so that
# a write that is cut leaves the record that counted before.

record_sector() { echo $((2048 + 8192 * $1)); }

# read_record DISK NUMBER: prints its lines, if it is whole.
read_record() {
  lines=$(dd if="$1" bs=512 skip="$(record_sector "$2")" count=1 2>/dev/null | tr -d '\000')
  body=$(printf '%s\n' "$lines" | sed '$d')
  sum=$(printf '%s\n' "$body" | sha256sum)
  [ "$(printf '%s\n' "$lines" | sed -n '$p')" = "check ${sum%% *}" ] || return 1
  [ "$(printf '%s\n' "$body" | sed -n 1p)" = 'lookout-slots 1' ] || return 1
  printf '%s\n' "$body"
}

field() { printf '%s\n' "$record" | sed -n "s/^$1 //p"; }

# newest_record DISK: sets `record`, or fails where neither is whole.
newest_record() {
  record=
  for number in 0 1; do
    found=$(read_record "$1" $number) || continue
    sequence=$(printf '%s\n' "$found" | sed -n 's/^sequence //p')
    if [ -z "$record" ] || [ "$sequence" -gt "$newest" ]; then record=$found newest=$sequence; fi
  done
  [ -n "$record" ]
}

# write_record DISK SED-SCRIPT: the record with changes, over the older one.
write_record() {
  next=$(($(field sequence) + 1))
  record=$(printf '%s\n' "$record" | sed "s/^sequence .*/sequence $next/; $2")
  sum=$(printf '%s\n' "$record" | sha256sum)
  printf '%s\ncheck %s\n' "$record" "${sum%% *}" |
    dd of="$1" bs=512 seek="$(record_sector $((next % 2)))" count=1 conv=sync,notrunc,fsync 2>/dev/null
}

other() { if [ "$1" = a ]; then echo b; else echo a; fi; }

# choose_slot DISK: sets `slot` and `why`. A try is counted before it is made.
choose_slot() {
  if ! newest_record "$1"; then slot=a why='no record is whole'; return; fi
  slot=$(field good) why=good
  set -- "$1" $(field trying)
  case $2 in
    -) ;;
    *) if [ "$3" -gt 0 ]; then
         slot=$2 why="try, $(($3 - 1)) left"
         write_record "$1" "s/^trying .*/trying $2 $(($3 - 1))/"
       else
         give_up "$1"
         why="back: $2 was not confirmed"
       fi ;;
  esac
}

# give_up DISK: the slot that is being tried is not tried again.
give_up() { write_record "$1" "s/^failed .*/failed $(field trying | cut -d ' ' -f 1)/; s/^trying .*/trying -/"; }

# guard RUN SECONDS TRIGGER FIFO: whatever is wrong with a system that is being tried, the board starts again unless RUN
# holds lookout/confirmed in time. It outlives the change of the root: from here on it needs nothing but what it has open,
# and RUN, where it stands.
guard() {
  mkfifo "$4"
  (
    cd "$1" && exec 3>"$3" || exit
    read -r -t "$2" _ <>"$4"
    [ -e lookout/confirmed ] || echo b >&3
  ) &
}

# `make` lists the targets. Everything is built with one profile, so nothing is compiled twice.

CARGO    ?= cargo
PROFILE  := --release --locked
TARGET   := $(abspath $(or $(CARGO_TARGET_DIR),target))
LOOKOUT   = $(CARGO) run $(PROFILE) --quiet --

PICTURE  ?= models/demo.jpg
LABELS   ?= a dog, a cat, a bicycle, a car, an empty room
PHRASE   ?= a dog
SENTENCE ?= a dog sits next to a bicycle
QUESTION ?= what colour is the bicycle?
OUT      ?= demo.png

.DEFAULT_GOAL := help
.PHONY: help demo test test-arm64 test-machine test-systemd test-miri test-recipe test-deb try-deb test-answers test-answers-armhf test-firmware test-boards test-two-machines test-fleet \
  image test-image test-boot test-cuts test-pi lint doc deny bench bench-daemon bench-fleet bench-fleet-search soak stages search-million fmt bundle arm64 armhf program deb firmware \
  tools tools-arm64 tools-bundle tools-daemon tools-deb tools-fleet tools-firmware tools-image tools-machine tools-update tools-zig

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## look at a picture: labels, caption, boxes, a check and an answer
	@$(CARGO) build $(PROFILE)
	@echo; echo '$$ lookout label $(PICTURE) --labels "$(LABELS)"'
	@$(LOOKOUT) label '$(PICTURE)' --labels '$(LABELS)'
	@echo; echo '$$ lookout caption $(PICTURE)'
	@$(LOOKOUT) caption '$(PICTURE)'
	@echo; echo '$$ lookout ground $(PICTURE) "$(PHRASE)" --out $(OUT)'
	@$(LOOKOUT) ground '$(PICTURE)' '$(PHRASE)' --out '$(OUT)'
	@echo; echo '$$ lookout check $(PICTURE) "$(SENTENCE)"'
	@$(LOOKOUT) check '$(PICTURE)' '$(SENTENCE)'
	@echo; echo '$$ lookout ask $(PICTURE) "$(QUESTION)"'
	@$(LOOKOUT) ask '$(PICTURE)' '$(QUESTION)'
	@echo; echo "The picture with its boxes: $(abspath $(OUT))"

test: tools tools-bundle tools-daemon tools-update ## run every test: all features, the doc examples, and the no_std core alone
	$(CARGO) test $(PROFILE)
	$(CARGO) build $(PROFILE) --no-default-features
	$(CARGO) test $(PROFILE) --no-default-features --lib
	@$(MAKE) --no-print-directory test-firmware
	@if [ -n "$(HOST)" ] && [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory try-deb; \
	else echo 'not Debian, or not root: the package was not installed anywhere'; fi
	@if command -v dpkg >/dev/null; then $(MAKE) --no-print-directory test-machine; \
	else echo 'not Debian: no kernel to be had for the test with a camera and GPIO'; fi
	@if [ "$$(uname -sm)" != 'Linux x86_64' ]; then \
	  echo 'not Linux on x86-64: the kernels for 64-bit ARM were not tested under emulation'; \
	elif ! $(MAKE) --no-print-directory tools-arm64; then \
	  echo 'the emulator or the target is missing, see above: the kernels for 64-bit ARM were not tested' >&2; \
	else $(MAKE) --no-print-directory test-arm64; fi

# A processor, and the kernel that must be chosen on it: the A53 and A72 have no dot product.
ARM64 := cortex-a53:neon cortex-a72:neon cortex-a76:neon-dot max:neon-i8mm

tools-arm64:
	@command -v qemu-aarch64-static >/dev/null || { $(call install,qemu-user-static,the emulator); }
	@rustup target list --installed | grep -qx aarch64-unknown-linux-musl || rustup target add aarch64-unknown-linux-musl

test-arm64: tools tools-arm64 ## the kernels for 64-bit ARM, on emulated processors
	@mkdir -p target
	@CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld $(CARGO) test $(PROFILE) --no-default-features \
	  --features kernels --target aarch64-unknown-linux-musl --lib --no-run --message-format=json-render-diagnostics \
	  | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' > target/arm64-tests
	@test -s target/arm64-tests
	@set -e; for pair in $(ARM64); do \
	  echo "$${pair%:*}: $${pair#*:} kernel"; \
	  LOOKOUT_EXPECTED_KERNEL=$${pair#*:} qemu-aarch64-static -cpu $${pair%:*} "$$(cat target/arm64-tests)" kernels --quiet; \
	done

# An emulated machine, and what its file system is made with.
EMULATOR := $(if $(filter aarch64,$(shell uname -m)),qemu-system-arm,qemu-system-x86)

tools-machine:
	@missing=; for tool in qemu-system-$$(uname -m) busybox cpio depmod; do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || missing=$$tool; done; \
	[ -z "$$missing" ] || { $(call install,$(EMULATOR) busybox-static cpio kmod,what a machine is emulated with); }

test-machine: tools tools-machine ## a camera, GPIO and a card of a real kernel, in an emulated machine: stall, unplug, lines
	@$(CARGO) build $(PROFILE) --example machine
	@tests/machine/run.sh "$${CARGO_TARGET_DIR:-target}/release/examples/machine"

# Some minutes: a whole Debian boots in the emulated machine.
test-systemd: tools tools-machine ## boards/lookout.service in a real systemd: ready, killed, stuck, reloaded, sandboxed
	@command -v mmdebstrap >/dev/null || { $(call install,mmdebstrap,what a Debian is made with); }
	@$(CARGO) build $(PROFILE) --bin lookout --example machine
	@tests/machine/systemd.sh "$${CARGO_TARGET_DIR:-target}/release"

# The firmware is a workspace of its own, built for other processors. FIRMWARE is where it goes.
FIRMWARE := $(TARGET)/firmware
PICO     := cd boards/pico && CARGO_TARGET_DIR='$(FIRMWARE)/build' $(CARGO)
THUMBS   := thumbv6m-none-eabi thumbv7em-none-eabihf

firmware: tools tools-firmware ## the Pico's firmware and the emulated Cortex-M4's, with their sizes
	@$(PICO) build $(PROFILE) --package lookout-client --target thumbv6m-none-eabi
	@$(PICO) build $(PROFILE) --package lookout-pico --target thumbv6m-none-eabi
	@$(PICO) build $(PROFILE) --package lookout-mps2 --target thumbv7em-none-eabihf
	@$(PICO) build --profile host --locked --package lookout-bench-pico
	@cp '$(FIRMWARE)/build/thumbv6m-none-eabi/release/lookout-pico' '$(FIRMWARE)/lookout-pico.elf'
	@cp '$(FIRMWARE)/build/thumbv7em-none-eabihf/release/lookout-mps2' '$(FIRMWARE)/lookout-mps2.elf'
	@'$(FIRMWARE)/build/host/uf2' '$(FIRMWARE)/lookout-pico.elf' '$(FIRMWARE)/lookout-pico.uf2'
	@'$(FIRMWARE)/build/host/uf2' '$(FIRMWARE)/lookout-mps2.elf'

# With FIRMWARE_OPTIONS=--include-ignored the long tests too.
test-firmware: firmware ## the firmware in emulators, beside the real daemon
	@command -v node >/dev/null || { $(call install,nodejs npm,what the emulated Pico runs on); }
	@command -v npm >/dev/null || { $(call install,npm,what installs the emulated Pico); }
	@command -v qemu-system-arm >/dev/null || { $(call install,qemu-system-arm,the emulated Cortex-M4); }
	@cmp -s boards/pico/emulator/package-lock.json boards/pico/emulator/node_modules/.of || { \
	  (cd boards/pico/emulator && npm ci --silent) && \
	  cp boards/pico/emulator/package-lock.json boards/pico/emulator/node_modules/.of; }
	@$(CARGO) build $(PROFILE)
	@export LOOKOUT='$(TARGET)/release/lookout' FIRMWARE='$(FIRMWARE)'; \
	  $(PICO) test --profile host --locked -- --test-threads 3 $(FIRMWARE_OPTIONS)

tools-firmware:
	@for target in $(THUMBS); do \
	  rustup target list --installed | grep -qx $$target || rustup target add $$target || exit 1; done

# What the daemon's tests talk to: a broker, a browser, serial pairs.
tools-daemon:
	@command -v mosquitto >/dev/null || { $(call install,mosquitto,the MQTT broker); }
	@command -v chromium >/dev/null || { $(call install,chromium,the browser that the page is tested in); }
	@command -v mosquitto_pub >/dev/null || { $(call install,mosquitto-clients,the MQTT clients); }
	@command -v openssl >/dev/null || { $(call install,openssl,what makes certificates); }

RECIPE_TRIAL := $(TARGET)/recipe-miniature

test-recipe: tools ## the whole training recipe on 20 made-up pictures (needs Python 3.11; installs PyTorch on first use)
	@rm -rf $(RECIPE_TRIAL)
	@models/recipe/run miniature $(RECIPE_TRIAL)
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bundle check $(RECIPE_TRIAL)/bundle

test-miri: ## the plain kernels under Miri (needs a nightly toolchain with it)
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --locked --no-default-features --features kernels \
	  --lib kernels

lint: tools ## formatting, clippy without warnings, dependencies (where cargo-deny is installed)
	$(CARGO) fmt --check
	$(CARGO) clippy $(PROFILE) --all-targets -- -D warnings
	$(CARGO) clippy $(PROFILE) --all-targets --no-default-features -- -D warnings
	$(PICO) fmt --all --check
	$(PICO) clippy --profile host --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
	elif sha256sum --check --status $(DENIED); then echo 'the dependencies are those that cargo-deny checked last'; \
	else echo 'cargo-deny is not installed: licences and sources of the dependencies were not checked'; fi

# What cargo-deny has found sound, so that it need not be built where nothing of that has changed.
DENIED := .ci/denied.sha256

deny: ## licences, sources and bans of the dependencies (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources
	cd boards/pico && $(CARGO) deny --locked --config ../../deny.toml check licenses bans sources
	@sha256sum Cargo.lock Cargo.toml boards/pico/Cargo.lock boards/pico/Cargo.toml deny.toml > $(DENIED)

doc: tools ## the library's documentation, without warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(PROFILE) --no-deps

# `make bench BENCH_OPTIONS=--quick` takes one to five minutes once everything is built. BENCH_PYTHON is a Python that has
# benches/requirements.txt already.
BENCH_PYTHON ?= benches/venv/bin/python

bench: tools $(filter benches/venv/%,$(BENCH_PYTHON)) ## against onnxruntime, tract and rten (needs Python 3.11; builds tract once more, for speed)
	@$(CARGO) build $(PROFILE) --package lookout-bench --features ours --bin ours
	@$(CARGO) build --profile peers --locked --package lookout-bench --features tract,rten --bin peers
	@$(BENCH_PYTHON) benches/compare.py $(BENCH_OPTIONS)

benches/venv/bin/python: benches/requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { $(call install,python3-venv,the module venv); }
	python3 -m venv benches/venv
	benches/venv/bin/pip install --quiet --requirement benches/requirements.txt
	@touch $@

# An hour; `make soak SOAK_OPTIONS="--minutes 10"`.
soak: tools tools-daemon ## leave the daemon running beside everything that goes wrong, and count what was lost
	@$(CARGO) build $(PROFILE)
	@python3 benches/soak.py $(SOAK_OPTIONS)

bench-daemon: tools tools-daemon ## what the daemon costs: processor share, triggers, questions over its links
	@$(CARGO) build $(PROFILE)
	@python3 benches/daemon.py $(BENCH_OPTIONS)

# Options: benches/fleet/storm.rs.
bench-fleet: tools tools-daemon ## a thousand devices at one broker, which is restarted meanwhile: messages a second, lost, twice
	@$(CARGO) build $(PROFILE) --example fleet
	@ulimit -n "$$(ulimit -H -n)"; '$(TARGET)/release/examples/fleet' storm $(BENCH_OPTIONS)

bench-fleet-search: tools tools-fleet ## search by words among a million events in PostgreSQL, with and without an index
	@$(CARGO) build $(PROFILE) --example fleet
	@benches/fleet_search.py --fleet '$(TARGET)/release/examples/fleet' $(BENCH_OPTIONS)

# What events of many devices are kept in and found with: examples/fleet.
tools-fleet:
	@[ -d /usr/lib/postgresql ] || { $(call install,postgresql,the database); }
	@/usr/bin/python3 -c 'import paho.mqtt, psycopg2' 2>/dev/null || { $(call install,python3-paho-mqtt python3-psycopg2,what fleet.py needs); }
	@ls /usr/share/postgresql/*/extension/vector.control >/dev/null 2>&1 || \
	{ if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; echo 'installing pgvector'; $$sudo examples/fleet/pgvector.sh; }

test-fleet: tools tools-daemon tools-fleet ## events of many devices found by words: a real broker, a real PostgreSQL
	@LOOKOUT_FLEET=1 $(CARGO) test $(PROFILE) --test mqtt fleet

stages: tools ## cold start, milliseconds of each stage, memory: `lookout bench`
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bench

search-million: tools ## search among a million past events on one core (makes a memory of 2.4 GB for it)
	$(CARGO) run $(PROFILE) --example search_million

bundle: tools ## check every hash and stored answer of the default bundle
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bundle check models/default

# ---- For boards -------------------------------------------------------------------------------------------------------
# zig links against glibc 2.17, so that old systems run it too; JetPack 4 (Ubuntu 18.04) has 2.27.
ZIG     ?= $(TARGET)/zig
A64     := $(TARGET)/aarch64-unknown-linux-gnu/release/lookout
A32     := $(TARGET)/armv7-unknown-linux-gnueabihf/release/lookout
ARCH    ?= $(shell dpkg --print-architecture 2>/dev/null || echo amd64)
HOST    := $(shell dpkg --print-architecture 2>/dev/null)
DEBS    := $(TARGET)/debian
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

arm64: tools tools-zig ## the program for 64-bit boards, for systems from glibc 2.17 on
	@$(call cross,aarch64-unknown-linux-gnu,$(A64))

# It is not for use yet: boards/debian/README.md.
armhf: tools tools-zig ## the program for 32-bit boards with an ARMv7, whose answers are wrong yet
	@$(call cross,armv7-unknown-linux-gnueabihf,$(A32))

# Builds the program for the target $(1); $(2) is what comes of it. From a folder that zig does not lie under: else it names its
# headers from here, and they are looked for from elsewhere.
define cross
rustup target list --installed | grep -qx $(1) || rustup target add $(1) || exit 1; \
(cd boards && PATH="$(abspath $(ZIG))/bin:$$PATH" $(CARGO) zigbuild $(PROFILE) --target $(1).2.17 --target-dir $(TARGET)) || exit 1; \
newest=$$(readelf -V $(2) | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -1); \
echo "$(2): $$(stat -c %s $(2)) bytes, needs glibc $$newest"; \
[ "$$(printf '%s\n2.17\n' "$$newest" | sort -V | tail -1)" = 2.17 ] || { echo 'that is newer than 2.17' >&2; exit 1; }
endef

tools-zig: $(ZIG)/bin/cargo-zigbuild
	@command -v readelf >/dev/null || { $(call install,binutils,readelf); }

$(ZIG)/bin/cargo-zigbuild: boards/debian/requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { $(call install,python3-venv,the module venv); }
	python3 -m venv $(ZIG)
	$(ZIG)/bin/pip install --quiet --requirement boards/debian/requirements.txt
	@touch $@

PROGRAM  = $(if $(filter $(HOST),$(ARCH)),$(TARGET)/release/lookout,$(A64))
PACKAGE  = boards/debian/build.sh $(ARCH) $(PROGRAM) $(TARGET)/release/lookout

# The program for ARCH, and the one for this machine, which prints the manual.
program: tools $(if $(filter $(HOST),$(ARCH)),,$(filter arm64,$(ARCH)))
	@case $(ARCH) in $(HOST) | arm64) ;; \
	armhf) echo 'there is no package for armhf: the program there gives wrong answers, see boards/debian/README.md' >&2; exit 1 ;; \
	*) echo 'packages are made for this machine and for arm64, not for $(ARCH)' >&2; exit 1 ;; esac
	@command -v readelf >/dev/null || { $(call install,binutils,readelf); }
	@$(CARGO) build $(PROFILE)

deb: program ## the Debian package; ARCH=arm64 for 64-bit boards
	@$(PACKAGE) $(DEBS)

test-deb: program ## the package in a fresh Debian 12: install, upgrade, remove, purge, lintian; ARCH=arm64 too
	@$(MAKE) --no-print-directory try-deb

# Of the program that is there. Root alone can make a fresh Debian to try it in.
try-deb: tools-deb
	@mkdir -p $(DEBS)/try
	@COMPRESSION=gzip $(PACKAGE) $(DEBS)/try >/dev/null
	@COMPRESSION=gzip $(PACKAGE) $(DEBS)/try $(VERSION)+1 >/dev/null
	@lintian --fail-on error --quiet $(DEBS)/try/lookout_$(VERSION)_$(ARCH).deb
	@boards/debian/chroot.sh $(ARCH) $(DEBS)/debian-$(ARCH).tar
	@boards/debian/test.sh $(ARCH) $(DEBS)/debian-$(ARCH).tar $(DEBS)/try/lookout_$(VERSION)_$(ARCH).deb \
	  $(DEBS)/try/lookout_$(VERSION)+1_$(ARCH).deb

# Builds the program for arm64 first: 17 minutes of a core.
test-boards: ## the long tests: the firmware, the package and the program for arm64, emulated
	@$(MAKE) --no-print-directory test-firmware FIRMWARE_OPTIONS='--include-ignored --skip two_machines'
	@$(MAKE) --no-print-directory test-deb ARCH=arm64
	@$(MAKE) --no-print-directory test-answers
	@$(MAKE) --no-print-directory test-two-machines
	@$(MAKE) --no-print-directory test-image

# An image, and what its tests need. BOARD=raspberry-pi; OPTIONS="--settings FILE --update-key FILE".
BOARD  ?= qemu-virt
IMAGES := $(TARGET)/image
DEB64   = $(DEBS)/lookout_$(VERSION)_arm64.deb
IMAGE   = $(LOOKOUT) flash image --board $(BOARD) --deb $(DEB64) --cache $(IMAGES)/cache $(OPTIONS)

tools-image: ARCH := arm64
tools-image: tools-deb
	@command -v mksquashfs >/dev/null || { $(call install,squashfs-tools,what a slot is packed with); }
	@command -v mcopy >/dev/null || { $(call install,mtools,what the boot partition is filled with); }
	@PATH=$$PATH:/usr/sbin command -v mkfs.vfat >/dev/null || { $(call install,dosfstools,what the boot partition is made with); }
	@PATH=$$PATH:/usr/sbin command -v mke2fs >/dev/null || { $(call install,e2fsprogs,what a disk with updates is made with); }
	@PATH=$$PATH:/usr/sbin command -v depmod >/dev/null && command -v cpio >/dev/null || { $(call install,cpio kmod,what the first program is packed with); }
	@command -v qemu-system-aarch64 >/dev/null && [ -e /usr/lib/ipxe/qemu/efi-virtio.rom ] || \
	{ $(call install,qemu-system-arm ipxe-qemu,the emulated board); }
	@command -v ssh >/dev/null || { $(call install,openssh-client,what logs in to the board); }

image: tools-image ## the image of a card, made as root; BOARD=qemu-virt or raspberry-pi
	@$(MAKE) --no-print-directory deb ARCH=arm64
	@mkdir -p $(IMAGES)
	@$(IMAGE) --out $(IMAGES)/lookout-$(BOARD).img

# The image is made where there is none of this package.
test-two-machines: tools-image firmware ## a microcontroller wired to a single-board computer, both emulated: motion, answer, event
	@[ -s $(DEB64) ] || $(MAKE) --no-print-directory deb ARCH=arm64
	@$(CARGO) build $(PROFILE)
	@[ $(IMAGES)/lookout-qemu-virt.img -nt $(DEB64) ] || { mkdir -p $(IMAGES) && \
	  $(LOOKOUT) flash image --board qemu-virt --deb $(DEB64) --cache $(IMAGES)/cache --out $(IMAGES)/lookout-qemu-virt.img; }
	@export LOOKOUT='$(TARGET)/release/lookout' FIRMWARE='$(FIRMWARE)' IMAGE='$(IMAGES)/lookout-qemu-virt.img'; \
	  $(PICO) test --profile host --locked --package lookout-bench-pico --test two_machines -- --include-ignored --nocapture

# The tests have an image of their own in $(TESTS), and the key that it takes updates of. PARTS is what image.sh tries.
TESTS   := $(IMAGES)/test
PARTS   ?= refuse full good broken noise
CUTS    ?= 3
BOOT     = LOOKOUT='$(TARGET)/release/lookout' tests/machine
MACHINE  = $(TESTS)/work $(TESTS)/card.img $(TESTS)/root.img $(TESTS)/vendor.key

test-image: image-of-test ## the image of qemu-virt booted, updated, broken and cut off, in an emulated machine
	@$(BOOT)/image.sh $(MACHINE) $(PARTS)
	@rm -rf $(TESTS)/work && mkdir $(TESTS)/work
	@$(BOOT)/cuts.sh $(MACHINE) $(CUTS)

# What `.ci/run` does of it. Most of its time goes into building the program for arm64.
test-boot: ## the image of qemu-virt booted until it tells what its camera sees; a broken update goes back by itself
	@if [ -z "$(HOST)" ] || [ "$$(id -u)" != 0 ]; then echo 'not Debian, or not root: the image of a card was not booted'; \
	else $(MAKE) --no-print-directory image-of-test && $(BOOT)/image.sh $(MACHINE) broken; fi

# Goes on where it was stopped; `rm -r target/image/cuts` begins anew.
test-cuts: TESTS := $(IMAGES)/cuts
test-cuts: ## the power cut CUTS times, 50 for the full run, while the board is updated
	@[ -s $(firstword $(MACHINE))/log ] || $(MAKE) --no-print-directory image-of-test TESTS=$(TESTS)
	@$(CARGO) build $(PROFILE)
	@$(BOOT)/cuts.sh $(MACHINE) $(CUTS)

test-pi: ## the image of raspberry-pi on the emulator's Raspberry Pi 3: a picture's caption over its serial line
	@$(MAKE) --no-print-directory image-of-test BOARD=raspberry-pi TESTS=$(IMAGES)/pi
	@$(BOOT)/pi.sh $(IMAGES)/pi/work $(IMAGES)/pi/card.img tests/fixtures/picture/photo.jpg

.PHONY: image-of-test
image-of-test: tools-image
	@$(MAKE) --no-print-directory program ARCH=arm64
	@rm -rf $(TESTS) && mkdir -p $(TESTS)/work
	@COMPRESSION=gzip boards/debian/build.sh arm64 $(A64) $(TARGET)/release/lookout $(TESTS)
	@cd $(TESTS) && $(TARGET)/release/lookout bundle keygen vendor --no-password >/dev/null
	@$(LOOKOUT) flash image --board $(BOARD) --deb $(TESTS)/lookout_$(VERSION)_arm64.deb --cache $(IMAGES)/cache \
	  --update-key $(TESTS)/vendor.pub --root $(TESTS)/root.img --out $(TESTS)/card.img

test-answers: arm64 tools-arm64 tools-deb ## the arm64 program's answers on emulated processors, against this machine's
	@$(call answers,arm64,$(A64),qemu-aarch64-static,$(foreach pair,$(ARM64),$(firstword $(subst :, ,$(pair)))))

# The processor of a Raspberry Pi 2.
test-answers-armhf: ARCH := armhf
test-answers-armhf: armhf tools-deb ## the same for the 32-bit program, which has the plain kernels only; it fails yet
	@$(call answers,armhf,$(A32),qemu-arm-static,cortex-a7)

# Compares the answers of the architecture $(1)'s program $(2), run by $(3) as the processors $(4), with this machine's.
define answers
$(CARGO) build $(PROFILE) && boards/debian/chroot.sh $(1) $(DEBS)/debian-$(1).tar && \
{ [ -d $(DEBS)/$(1)-root ] || { mkdir -p $(DEBS)/$(1)-root && tar -xf $(DEBS)/debian-$(1).tar -C $(DEBS)/$(1)-root; }; } && \
EMULATOR=$(3) boards/debian/answers.sh $(2) $(TARGET)/release/lookout $(DEBS)/$(1)-root $(4)
endef

tools-deb:
	@command -v mmdebstrap >/dev/null || { $(call install,mmdebstrap,what a fresh Debian is made with); }
	@command -v lintian >/dev/null || { $(call install,lintian,the checker of packages); }
	@[ "$(ARCH)" = "$(HOST)" ] || { command -v qemu-aarch64-static && command -v qemu-arm-static && command -v arch-test; } >/dev/null || { \
	  $(call install,qemu-user-static arch-test,the emulator and what asks whether it runs); }

tools-update:
	@command -v busybox >/dev/null || { $(call install,busybox-static,the shell that a board starts with); }

tools-bundle:
	@command -v minisign >/dev/null || { $(call install,minisign,the signer that ours is compared with); }

fmt: ## format the code
	$(CARGO) fmt

# A C compiler, which some dependencies build assembly and SQLite with; libclang, by which the camera's library reads the
# kernel's headers; and Rust itself.
tools:
	@command -v $(CARGO) >/dev/null || { \
	  echo 'cargo was not found: install Rust from https://rustup.rs, then open a new shell' >&2; exit 1; }
	@command -v cc >/dev/null || { $(call install,build-essential,a C compiler); }
	@ls $(foreach d,/usr/lib/llvm-*/lib /usr/lib/*,$(d)/libclang.so* $(d)/libclang-[0-9]*.so*) 2>/dev/null | grep -q . || { $(call install,libclang-dev,libclang); }

# Installs Debian's package $(1), which is $(2).
define install
if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else \
  echo '$(2) is missing and only root can install it: apt-get install $(1)' >&2; exit 1; fi; \
  echo 'installing $(2) ($(1))'; \
  $$sudo apt-get update -q && $$sudo apt-get install -qy --no-install-recommends $(1)
endef

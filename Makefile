# `make` lists the targets. Everything is built with one profile, so nothing is compiled twice.

CARGO    ?= cargo
PROFILE  := --release --locked
LOOKOUT   = $(CARGO) run $(PROFILE) --quiet --

PICTURE  ?= models/demo.jpg
LABELS   ?= a dog, a cat, a bicycle, a car, an empty room
PHRASE   ?= a dog
SENTENCE ?= a dog sits next to a bicycle
QUESTION ?= what colour is the bicycle?
OUT      ?= demo.png

.DEFAULT_GOAL := help
.PHONY: help demo test firmware test-firmware test-boards tools-firmware test-arm64 test-camera test-miri lint doc deny bench bench-daemon soak stages search-million fmt bundle \
  tools tools-arm64 tools-camera tools-daemon

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

test: tools tools-daemon ## run every test: all features, the doc examples, and the no_std core alone
	$(CARGO) test $(PROFILE)
	$(CARGO) build $(PROFILE) --no-default-features
	$(CARGO) test $(PROFILE) --no-default-features --lib
	@$(MAKE) --no-print-directory test-firmware
	@if command -v dpkg >/dev/null; then $(MAKE) --no-print-directory test-camera; \
	else echo 'not Debian: no kernel to be had for the test with a camera'; fi
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

tools-camera:
	@missing=; for tool in qemu-system-$$(uname -m) busybox cpio depmod; do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || missing=$$tool; done; \
	[ -z "$$missing" ] || { $(call install,$(EMULATOR) busybox-static cpio kmod,what a machine is emulated with); }

test-camera: tools tools-camera ## a camera of a real kernel, in an emulated machine: formats, stall, unplug
	@$(CARGO) build $(PROFILE) --example vivid
	@tests/vivid/run.sh "$${CARGO_TARGET_DIR:-target}/release/examples/vivid"

# The firmware is a workspace of its own, built for other processors. FIRMWARE is where it goes.
TARGET   := $(abspath $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target))
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

test-boards: ## the long tests of boards
	@$(MAKE) --no-print-directory test-firmware FIRMWARE_OPTIONS=--include-ignored

tools-firmware:
	@for target in $(THUMBS); do \
	  rustup target list --installed | grep -qx $$target || rustup target add $$target || exit 1; done

# What the daemon's tests talk to: a broker, a browser, serial pairs.
tools-daemon:
	@command -v mosquitto >/dev/null || { $(call install,mosquitto,the MQTT broker); }
	@command -v chromium >/dev/null || { $(call install,chromium,the browser that the page is tested in); }
	@command -v mosquitto_pub >/dev/null || { $(call install,mosquitto-clients,the MQTT clients); }

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
	else echo 'cargo-deny is not installed: licences and sources of the dependencies were not checked'; fi

deny: ## licences, sources and bans of the dependencies (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources
	cd boards/pico && $(CARGO) deny --locked --config ../../deny.toml check licenses bans sources

doc: tools ## the library's documentation, without warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(PROFILE) --no-deps

# `make bench BENCH_OPTIONS=--quick` takes a minute once everything is built. BENCH_PYTHON is a Python that has
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

stages: tools ## cold start, milliseconds of each stage, memory: `lookout bench`
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bench

search-million: tools ## search among a million past events on one core (makes a memory of 2.4 GB for it)
	$(CARGO) run $(PROFILE) --example search_million

bundle: tools ## check every hash and stored answer of the default bundle
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bundle check models/default

fmt: ## format the code
	$(CARGO) fmt

# A C compiler, which some dependencies build assembly and SQLite with; libclang, by which the camera's library reads the
# kernel's headers; and Rust itself.
tools:
	@command -v $(CARGO) >/dev/null || { \
	  echo 'cargo was not found: install Rust from https://rustup.rs, then open a new shell' >&2; exit 1; }
	@command -v cc >/dev/null || { $(call install,build-essential,a C compiler); }
	@ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || { $(call install,libclang-dev,libclang); }

# Installs Debian's package $(1), which is $(2).
define install
if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else \
  echo '$(2) is missing and only root can install it: apt-get install $(1)' >&2; exit 1; fi; \
  echo 'installing $(2) ($(1))'; \
  $$sudo apt-get update -q && $$sudo apt-get install -qy --no-install-recommends $(1)
endef

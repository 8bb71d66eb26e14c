# `make` lists the targets. Everything is built with one profile, so nothing is compiled twice.

CARGO    ?= cargo
PROFILE  := --release --locked
LOOKOUT   = $(CARGO) run $(PROFILE) --quiet --

PICTURE  ?= models/demo.jpg
LABELS   ?= a woman, a dog, a car, a flag, an empty room
PHRASE   ?= a woman
SENTENCE ?= a woman in an orange suit is smiling
QUESTION ?= what is the woman wearing?
OUT      ?= demo.png

.DEFAULT_GOAL := help
.PHONY: help demo test lint doc deny bench fmt bundle tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

test: tools ## run every test: all features, the doc examples, and the no_std core alone
	$(CARGO) test $(PROFILE)
	$(CARGO) build $(PROFILE) --no-default-features
	$(CARGO) test $(PROFILE) --no-default-features --lib

lint: tools ## formatting, clippy without warnings, dependencies (where cargo-deny is installed)
	$(CARGO) fmt --check
	$(CARGO) clippy $(PROFILE) --all-targets -- -D warnings
	$(CARGO) clippy $(PROFILE) --all-targets --no-default-features -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
	else echo 'cargo-deny is not installed: licences and sources of the dependencies were not checked'; fi

deny: ## licences, sources and bans of the dependencies (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources

doc: tools ## the library's documentation, without warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(PROFILE) --no-deps

bench: tools ## cold start, milliseconds of each stage, memory
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bench

bundle: tools ## check every hash and stored answer of the default bundle
	@$(CARGO) build $(PROFILE)
	@$(LOOKOUT) bundle check models/default

fmt: ## format the code
	$(CARGO) fmt

# A C compiler, which one dependency builds its assembly with, and Rust itself.
tools:
	@command -v $(CARGO) >/dev/null || { \
	  echo 'cargo was not found: install Rust from https://rustup.rs, then open a new shell' >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else \
	    echo 'a C compiler is missing and only root can install it: apt-get install build-essential' >&2; exit 1; fi; \
	  echo 'installing a C compiler (build-essential)'; \
	  $$sudo apt-get update -q && $$sudo apt-get install -qy --no-install-recommends build-essential; }

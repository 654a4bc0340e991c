# What one does with Sceau. Everything works with what Debian (build-essential, python3, curl) and rustup give.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
SCEAU := $(TARGET)/release/sceau
# `make bench-long` has its own default.
LONG := $(or $(EVENTS),50000000)
# So has a bench on MongoDB.
SHORT := $(or $(EVENTS),$(if $(STORE),200000,2000000))
EVENTS ?= 2000000
SINGLE ?= 20000
FUZZ := envelope json_events parsers query note import rules snapshot

.PHONY: help build demo test check fmt openapi conformance bench bench-long fuzz torture overload clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build the binary
	@echo "== building sceau (the first time takes a while: DataFusion and all else from source)"
	$(CARGO) build --release --locked --bin sceau
	@echo "== built $(SCEAU)"

demo: build ## logs sealed, searched, proven, verified - and tampering named; KEEP=1 leaves the server running
	@SCEAU_BIN="$(SCEAU)" KEEP="$(KEEP)" demo/demo.sh

N ?= 1000

# One profile for the product, its tests and the bench, so that nothing is built twice.
test: check ## every check, and every test of the whole workspace
	@rm -rf "$(TARGET)/tmp/skipped"
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "== nextest"; $(CARGO) nextest run --release --locked --workspace --all-targets --no-fail-fast; \
	else \
		echo "== cargo test (cargo-nextest is not installed)"; $(CARGO) test --release --locked --workspace --all-targets; \
	fi
	@echo "== documentation's examples"
	$(CARGO) test --release --locked --workspace --doc
	@cat "$(TARGET)/tmp/skipped/"* 2>/dev/null || true

check: ## formatting, lints, and dependencies' licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) fetch --locked --quiet; \
		$(CARGO) deny --locked --offline check bans licenses sources; \
	else \
		echo "== cargo-deny is not installed: licences, bans and sources were NOT checked"; \
	fi

fmt: ## format everything
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

openapi: ## write the API's description and table of permissions into docs/, as the code says
	SCEAU_WRITE_DOCS=1 $(CARGO) test --release --locked --workspace --lib -- api::tests::description

conformance: ## our parsers, tree and proofs against others' expectations in ../shared/data
	@for example in crates/*/examples/conformance*; do \
		[ -e "$$example" ] || { echo "no conformance examples"; exit 0; }; \
		crate=$$(echo "$$example" | cut -d/ -f2); \
		echo "== $$crate"; \
		$(CARGO) run --release --locked --quiet -p "sceau-$$crate" --example "$$(basename "$$example" .rs)"; \
	done

bench: build ## CPU per event, queries, disk, memory, verify on generated events; EVENTS=2000000 SINGLE=20000 STORE=mongodb://…
	$(CARGO) build --release --locked --example bench
	@"$(TARGET)/release/examples/bench" --sceau "$(SCEAU)" --events $(SHORT) --single $(SINGLE) $(if $(STORE),--store '$(STORE)')

bench-long: build ## whether it stays flat: 50 million events, then a restart and retention; EVENTS=50000000, some 6 GB of disk
	$(CARGO) build --release --locked --example bench
	@mkdir -p "$(TARGET)/tmp"
	@"$(TARGET)/release/examples/bench" --sceau "$(SCEAU)" --long --events $(LONG) --dir "$(TARGET)/tmp"

fuzz: ## every fuzz target, two at a time, SECONDS=60 each; what one finds is in fuzz/artifacts
	@cd fuzz && export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(TARGET)/fuzz"; \
	echo "== building the fuzz targets"; \
	$(CARGO) fuzz build -s none; \
	$(CARGO) fuzz run seeds -s none -- -runs=0 2>&1 | grep -E "^[0-9]+ seeds|SKIPPED"; \
	run() { \
		mkdir -p corpus/$$1 artifacts/$$1; \
		if $(CARGO) fuzz run $$1 -s none -- -max_total_time=$(or $(SECONDS),60) -rss_limit_mb=2048 -timeout=20 \
			>artifacts/$$1.log 2>&1; then \
			echo "$$1: $$(tail -n 1 artifacts/$$1.log)"; \
		else \
			echo "$$1: FOUND"; tail -n 40 artifacts/$$1.log | cut -c1-400; return 1; \
		fi; \
	}; \
	export -f run; \
	printf '%s\n' $(FUZZ) | xargs -P 2 -n 1 bash -c 'run "$$0"'

torture: ## kill the server at N random moments (N=1000), and check each time that nothing acknowledged is lost
	SCEAU_TORTURE_ROUNDS=$(N) $(CARGO) test --release --locked --workspace --test crash -- --nocapture

overload: ## 200 connections send far more than the server can take, SECONDS=60
	SCEAU_OVERLOAD_SECONDS=$(or $(SECONDS),60) \
		$(CARGO) test --release --locked --workspace --test overload -- --nocapture

clean: ## remove what the demo left; the build stays
	rm -rf demo/run

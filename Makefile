# make demo   does all the set-up and shows a recorded attack turning into alerts
# make test   does all the set-up and passes the tests
# make check  the gate: tests, lints, formatting, architecture
# make bench  measures

CARGO ?= cargo
# Debian packages that building needs: a C compiler and linker for zstd, the tool for the schema of bitcoin-node's IPC.
PACKAGES := build-essential capnproto
TOCSIN := target/release/tocsin

.PHONY: demo test check bench setup nextest

demo: setup
	$(CARGO) build --release --quiet
	@echo
	@echo "Four peers flood a node with addresses (a recording of five minutes, at thirty times its speed):"
	@echo
	$(TOCSIN) replay testdata/incidents/addr_flood/recording.bin.zst --speed 30x

test: setup nextest
	$(CARGO) nextest run --workspace
	$(CARGO) build --quiet
	target/debug/tocsin check
	target/debug/tocsin test

check: test
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) fmt --all -- --check
	@# proto/ is the vocabulary and imports nothing of ours.
	@! $(CARGO) tree -p tocsin-proto --edges normal,build --prefix none | grep -q '^tocsin v' \
	    || (echo "tocsin-proto depends on the engine"; exit 1)

bench: setup
	$(CARGO) bench --bench parts
	$(CARGO) bench --bench replay

# Installs what is missing and nothing else; needs root (or sudo) only then.
setup:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: install it from https://rustup.rs"; exit 1; }
	@missing=""; for package in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    run=""; [ "$$(id -u)" = 0 ] || run=sudo; \
	    $$run apt-get update -q && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $$missing; \
	fi

nextest:
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked

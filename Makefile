# make setup    installs what building needs
# make build    builds target/release/tocsin
# make demo     does both and shows a recorded attack turning into alerts
# make test     installs what the tests need besides, and passes the tests
# make check    the gate: tests, lints, formatting, architecture
# make explore  runs the random tests with other random inputs than the gate does, and more of them
# make bench    measures

CARGO ?= cargo
# Random tests are the same each time: a gate must not fail by luck. `make explore` looks further.
export PROPTEST_RNG_SEED ?= 20261121
# Debian packages that building needs: a C compiler and linker, clang and libelf for the tracepoint programs, the tool for
# the schema of bitcoin-node's IPC.
BUILD_PACKAGES := build-essential capnproto clang libelf-dev pkg-config zlib1g-dev
# What the tests need besides: servers, and what Bitcoin Core is built with.
BITCOIN_PACKAGES := cmake libboost-dev libcapnp-dev libevent-dev libsqlite3-dev ninja-build systemtap-sdt-dev
TEST_PACKAGES := nats-server openssl prometheus prometheus-alertmanager python3-venv $(BITCOIN_PACKAGES)
TOCSIN := target/release/tocsin
# Where testdata/build_bitcoind.sh puts the programs.
BITCOIN := $(or $(CARGO_TARGET_DIR),target)/bitcoin/bin

.PHONY: setup build demo test check bench bitcoind  test-setup

setup:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: install it from https://rustup.rs"; exit 1; }
	@$(call install,$(BUILD_PACKAGES))

build: setup
	$(CARGO) build --release --quiet

demo: build
	@echo
	@echo "Four peers flood a node with addresses (a recording of five minutes, at thirty times its speed):"
	@echo
	$(TOCSIN) replay testdata/incidents/addr_flood/recording.bin.zst --speed 30x

test: setup test-setup bitcoind
	$(CARGO) nextest run --workspace --no-fail-fast
	$(CARGO) build --quiet
	target/debug/tocsin check
	target/debug/tocsin test

check: test encrypted
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) fmt --all -- --check
	@# proto/ is the vocabulary and imports nothing of ours; extractors and notifiers know nothing of the engine or of each other.
	@$(call stands_apart,tocsin-proto,(-extractors|-notifiers)?)
	@$(call stands_apart,tocsin-extractors,(-notifiers)?)
	@$(call stands_apart,tocsin-notifiers,(-extractors)?)

# Encrypted Matrix rooms are a feature of their own: 300 crates more, which only these tests build.
encrypted: test-setup
	$(CARGO) nextest run -p tocsin-notifiers --features matrix-e2ee --test matrix_encrypted

explore: test-setup
	PROPTEST_RNG_SEED=$$(date +%s) PROPTEST_CASES=2000 $(CARGO) nextest run --workspace --lib --test it --no-fail-fast

bench: setup test-setup bitcoind
	$(CARGO) bench --bench parts
	$(CARGO) bench --bench replay
	$(CARGO) bench -p tocsin-extractors
	$(CARGO) bench --bench live
	$(CARGO) bench --bench compare

# Bitcoin Core 31.99, once; unless BITCOIND_EXE and BITCOIN_NODE_EXE name programs to test with.
bitcoind: test-setup
	@if [ -z "$$BITCOIND_EXE" ] || [ -z "$$BITCOIN_NODE_EXE" ]; then \
	    [ -x $(BITCOIN)/bitcoin-node ] || echo "building Bitcoin Core for the tests, once; this takes ten minutes"; \
	    testdata/build_bitcoind.sh >/dev/null; \
	fi

test-setup:
	@$(call install,$(TEST_PACKAGES))
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked
	@# A Matrix homeserver and an SMTP server, unless SERVERS_PYTHON names a Python that has both.
	@[ -n "$$SERVERS_PYTHON" ] || testdata/install_servers.sh >/dev/null

# Installs what is missing of these packages and nothing else; needs root (or sudo) only then.
define install
missing=""; for package in $(1); do \
    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then \
    run=""; [ "$$(id -u)" = 0 ] || run=sudo; \
    $$run apt-get update -q && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $$missing; \
fi
endef

# Fails if package $(1) depends on a package of ours whose name is tocsin and matches $(2).
define stands_apart
! $(CARGO) tree -p $(1) --edges normal,build --prefix none | grep -E '^tocsin$(2) v' || (echo "$(1) must not depend on this"; exit 1)
endef

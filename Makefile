# make setup    installs what building needs
# make build    builds target/release/tocsin
# make demo     does both and shows a recorded attack turning into alerts
# make test     installs what the tests need besides, and passes the tests
# make check    the gate: tests, lints, formatting, architecture
# make bench    measures

CARGO ?= cargo
# Debian packages that building needs: a C compiler and linker, clang and libelf for the tracepoint programs, the tool for
# the schema of bitcoin-node's IPC.
BUILD_PACKAGES := build-essential capnproto clang libelf-dev pkg-config zlib1g-dev
# What the tests need besides: servers, and what Bitcoin Core is built with.
BITCOIN_PACKAGES := cmake libboost-dev libcapnp-dev libevent-dev libsqlite3-dev ninja-build systemtap-sdt-dev
TEST_PACKAGES := nats-server openssl prometheus prometheus-alertmanager python3-venv $(BITCOIN_PACKAGES)
TOCSIN := target/release/tocsin
# Where testdata/build_bitcoind.sh puts the programs.
BITCOIN := $(or $(CARGO_TARGET_DIR),target)/bitcoin/bin

.PHONY: setup build demo test check bench bitcoind synapse test-setup

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

test: setup test-setup bitcoind synapse
	$(CARGO) nextest run --workspace --no-fail-fast
	$(CARGO) build --quiet
	target/debug/tocsin check
	target/debug/tocsin test

check: test
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) fmt --all -- --check
	@# proto/ is the vocabulary and imports nothing of ours; extractors know nothing of the engine.
	@! $(CARGO) tree -p tocsin-proto --edges normal,build --prefix none | grep -qE '^tocsin(-extractors)? v' \
	    || (echo "tocsin-proto depends on the engine or the extractors"; exit 1)
	@! $(CARGO) tree -p tocsin-extractors --edges normal,build --prefix none | grep -q '^tocsin v' \
	    || (echo "tocsin-extractors depends on the engine"; exit 1)

bench: setup test-setup bitcoind
	$(CARGO) bench --bench parts
	$(CARGO) bench --bench replay
	$(CARGO) bench -p tocsin-extractors
	$(CARGO) bench --bench live

# Bitcoin Core 31.99, once; unless BITCOIND_EXE and BITCOIN_NODE_EXE name programs to test with.
bitcoind: test-setup
	@if [ -z "$$BITCOIND_EXE" ] || [ -z "$$BITCOIN_NODE_EXE" ]; then \
	    [ -x $(BITCOIN)/bitcoin-node ] || echo "building Bitcoin Core for the tests, once; this takes ten minutes"; \
	    testdata/build_bitcoind.sh >/dev/null; \
	fi

# A Matrix homeserver, once; unless SYNAPSE_PYTHON names a Python that has one.
synapse: test-setup
	@[ -n "$$SYNAPSE_PYTHON" ] || testdata/install_synapse.sh >/dev/null

test-setup:
	@$(call install,$(TEST_PACKAGES))
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked
	@# An SMTP server, unless SMTPD_PYTHON names a Python that has aiosmtpd.
	@[ -n "$$SMTPD_PYTHON" ] || testdata/install_smtpd.sh >/dev/null

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

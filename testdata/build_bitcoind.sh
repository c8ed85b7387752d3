#!/usr/bin/env bash
# Builds bitcoind and bitcoin-node 31.99, with tracepoints and IPC, for the tests: once, into target/bitcoin/bin.
#
# The source is Bitcoin Core as the crate libbitcoinkernel-sys carries it, so that any crate registry will do and its
# checksum is Cargo's business. Takes about ten minutes on two cores. Prints the folder that holds the programs.
# Needs (Debian): cmake ninja-build libboost-dev libevent-dev libsqlite3-dev systemtap-sdt-dev capnproto libcapnp-dev
set -euo pipefail
CRATE=libbitcoinkernel-sys
VERSION=0.4.1

cd "$(dirname "$0")/.."
root="${CARGO_TARGET_DIR:-target}/bitcoin"
mkdir -p "$root"
root="$(cd "$root" && pwd)"

# Two tests may ask at the same time; the second waits for the first.
exec 9>"$root/lock"
flock 9
if [ -x "$root/bin/bitcoind" ] && [ -x "$root/bin/bitcoin-node" ]; then
    echo "$root/bin"
    exit 0
fi

{
    # A package of nothing but the dependency: `cargo vendor` fetches and checks the source without building it.
    mkdir -p "$root/source/src"
    : >"$root/source/src/lib.rs"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\n%s = "=%s"\n[workspace]\n' \
        "$CRATE" "$VERSION" >"$root/source/Cargo.toml"
    (cd "$root/source" && cargo vendor --quiet vendor >/dev/null)

    cmake -S "$root/source/vendor/$CRATE/bitcoin" -B "$root/build" -G Ninja \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_DAEMON=ON -DWITH_USDT=ON -DENABLE_IPC=ON -DWITH_EMBEDDED_ASMAP=OFF \
        -DENABLE_WALLET=OFF -DBUILD_CLI=OFF -DBUILD_TESTS=OFF -DBUILD_GUI=OFF -DBUILD_TX=OFF -DBUILD_UTIL=OFF \
        -DBUILD_BENCH=OFF -DBUILD_WALLET_TOOL=OFF
    cmake --build "$root/build" --target bitcoind bitcoin-node
    mkdir -p "$root/bin"
    for program in bitcoind bitcoin-node; do
        # Renamed into place, so that an interrupted build leaves no half program behind.
        strip -o "$root/bin/.$program" "$root/build/bin/$program"
        mv "$root/bin/.$program" "$root/bin/$program"
    done
    # 2 GB of objects that nothing needs any more.
    rm -rf "$root/build" "$root/source"
} >"$root/build.log" 2>&1 || {
    echo "bitcoind could not be built; the end of $root/build.log:" >&2
    tail -n 30 "$root/build.log" >&2
    exit 1
}
echo "$root/bin"

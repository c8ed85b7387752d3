#!/usr/bin/env bash
# Installs servers for the tests, a Matrix homeserver and one for SMTP: once, into target/servers. Prints the Python that
# runs them.
#
# From the Python package index, with the versions of servers.txt beside this script. Takes half a minute and 250 MB.
# Needs (Debian): python3-venv. The servers: https://github.com/element-hq/synapse, https://github.com/aio-libs/aiosmtpd
set -euo pipefail

cd "$(dirname "$0")/.."
versions="$PWD/testdata/servers.txt"
root="${CARGO_TARGET_DIR:-target}/servers"
mkdir -p "$root"
root="$(cd "$root" && pwd)"

# Two tests may ask at the same time; the second waits for the first.
exec 9>"$root/lock"
flock 9
# Written last: an interrupted installation is done anew, and so is one of other versions.
if cmp -s "$versions" "$root/installed"; then
    echo "$root/venv/bin/python"
    exit 0
fi

{
    rm -rf "$root/venv"
    python3 -m venv "$root/venv"
    "$root/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$versions"
    cp "$versions" "$root/installed"
} >"$root/install.log" 2>&1 || {
    echo "the servers could not be installed; the end of $root/install.log:" >&2
    tail -n 30 "$root/install.log" >&2
    exit 1
}
echo "$root/venv/bin/python"

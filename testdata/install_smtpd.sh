#!/usr/bin/env bash
# Installs the SMTP server aiosmtpd for the tests: once, into target/smtpd. Prints the Python that runs it.
#
# From the Python package index; takes some seconds. Needs (Debian): python3-venv. Itself: https://github.com/aio-libs/aiosmtpd
set -euo pipefail
VERSIONS="aiosmtpd==1.4.6 atpublic==5.1 attrs==25.4.0"

cd "$(dirname "$0")/.."
root="${CARGO_TARGET_DIR:-target}/smtpd"
mkdir -p "$root"
root="$(cd "$root" && pwd)"

# Two tests may ask at the same time; the second waits for the first.
exec 9>"$root/lock"
flock 9
# Written last: an interrupted installation is done anew, and so is one of other versions.
if [ "$(cat "$root/installed" 2>/dev/null)" = "$VERSIONS" ]; then
    echo "$root/venv/bin/python"
    exit 0
fi

{
    rm -rf "$root/venv"
    python3 -m venv "$root/venv"
    # shellcheck disable=SC2086 # several words
    "$root/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: $VERSIONS
    echo "$VERSIONS" >"$root/installed"
} >"$root/install.log" 2>&1 || {
    echo "aiosmtpd could not be installed; the end of $root/install.log:" >&2
    tail -n 30 "$root/install.log" >&2
    exit 1
}
echo "$root/venv/bin/python"

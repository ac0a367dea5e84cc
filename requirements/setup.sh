#!/bin/sh
# Makes .venv from the hashed locks, and installs the Debian packages that the tests use where the user may.
# Run by `make setup`; may be run again at any time.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The locks hold for these releases of Python and no others.
find_python() {
    for name in python3 python3.13 python3.14 python3.12 python3.11; do
        found=$(command -v "$name") || continue
        if "$found" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    fail "needs Python 3.11 to 3.14, and found none on PATH. On Debian 12 or newer: apt-get install python3 python3-venv"
}

missing_debian_packages() {
    for package in "$@"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q '^install ok' || printf '%s ' "$package"
    done
}

# install_debian WHY PACKAGE...: true when they are there afterwards.
install_debian() {
    why=$1
    shift
    command -v apt-get >/dev/null || { say "not Debian: install the like of '$*' by hand ($why)"; return 1; }
    missing=$(missing_debian_packages "$@")
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        # On a terminal sudo may ask for the password; elsewhere it must not wait for one.
        [ -t 0 ] || as_root='sudo -n'
        if ! $as_root true 2>/dev/null; then
            say "no root rights: ask for 'apt-get install $missing' ($why)"
            return 1
        fi
    fi
    say "installing Debian packages: $missing"
    # shellcheck disable=SC2086 # both are lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive sh -c '
        apt-get -qq -o DPkg::Lock::Timeout=300 update &&
        apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >/dev/null' sh $missing ||
        { say "apt-get could not install: $missing ($why)"; return 1; }
    # Debian starts a broker of its own on installation; the tests start theirs on free ports.
}

# uv of the user's own if it is new enough, else the locked one, in a place of its own so that .venv holds the project only.
find_uv() {
    if command -v uv >/dev/null &&
        uv --version | awk '{ split($2, v, "."); exit !(v[1] > 0 || v[2] >= 9) }'; then
        command -v uv
        return
    fi
    if [ ! -x .make/uv/bin/uv ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            install_debian "Python's venv makes .venv" python3-venv >&2 ||
            fail "this Python cannot make virtual environments: install python3-venv, or uv"
        "$python" -m venv --clear .make/uv
        .make/uv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements/uv.txt
    fi
    echo .make/uv/bin/uv
}

python=$(find_python)
uv=$(find_uv)
say "$("$python" --version) at $python, $("$uv" --version)"

same_python() { [ "$(.venv/bin/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" = "$("$python" -c 'import sys; print(sys.version_info[:2])')" ]; }
same_python || "$uv" venv --quiet --clear --python "$python" .venv
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes --build-constraints requirements/build.txt requirements/dev.txt
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .

# The boards' stubs replace CPython's standard library, so they stay out of .venv. ESP32's come last: where both have a
# module, its is the one that counts.
rm -rf .stubs
for board in rp2 esp32; do
    "$uv" pip install --quiet --python .venv/bin/python --target .stubs --require-hashes -r "requirements/stubs-$board.txt"
done

# shellcheck disable=SC2046 # a list of words
install_debian "tests that need them are skipped without" $(grep -v '^#' requirements/debian.txt) || true
say "done: .venv is ready"

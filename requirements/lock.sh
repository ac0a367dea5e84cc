#!/bin/sh
# Writes the locks anew from pyproject.toml. With UPGRADE=1 every package moves to its newest release; otherwise only
# what pyproject.toml asks for changes. Each lock holds for Linux and macOS and for every Python from 3.11 on.
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}

lock() {
    out=$1
    shift
    "$UV" pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
        ${UPGRADE:+--upgrade} --custom-compile-command "make lock" --output-file "requirements/$out" "$@" >/dev/null
    echo "requirements/$out: $(grep -c '==' "requirements/$out") packages"
}

lock run.txt pyproject.toml
lock dev.txt --constraints requirements/run.txt --extra sim --extra bench --group test --group check --group build pyproject.toml
lock build.txt --constraints requirements/dev.txt --group build
lock stubs-rp2.txt --group stubs-rp2
lock stubs-esp32.txt --group stubs-esp32
lock uv.txt --group uv

#!/bin/sh
# All checks, in order of how fast they fail. Each runs even if an earlier one failed; the exit code is 1 if any did.
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PWD/.venv/bin:$PATH
failed=

run() {
    name=$1
    shift
    printf -- '-- %s\n' "$name"
    "$@" || failed="$failed $name"
}

shell_files() { git ls-files -z '*.sh' .ci/run | xargs -0 "$@"; }

run format ruff format --check --quiet .
run lint ruff check --quiet .
run types mypy
run board-types basedpyright --project firmware/pyrightconfig.json
run micropython-syntax python tools/checks/micropython_syntax.py
run project-rules python tools/checks/project_rules.py
run docs python tools/checks/docs.py
if command -v shellcheck >/dev/null; then
    run shell shell_files shellcheck
else
    echo '-- shell: skipped, no shellcheck here'
fi

[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }

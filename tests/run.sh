#!/bin/sh
# Sets up, then linter, formatter, import rules, type checker and tests, but for those marked `slow`; `-m ""` runs these
# too. Arguments go to pytest: `sh tests/run.sh tests/core -k x`, `sh tests/run.sh -m ""`. All of them run even if one
# fails; the exit code is 0 only if all passed.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
cd -- "$root" || exit 1
URNET_ROOT=$root
URNET_DEV=1
# shellcheck source=set_env.sh
. "$root/set_env.sh" || exit 1

failed=""
check() { # NAME COMMAND ...
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed="$failed $name"
}

check ruff-check python -m ruff check .
check ruff-format python -m ruff format --check .
check imports lint-imports --no-logo
types=$(mktemp) || exit 1
trap 'rm -f "$types"' EXIT
python -m mypy >"$types" 2>&1 & # beside the tests
mypy=$!
# A process a core (at most 4) and two more, as many tests wait for others; each computes with one thread: threads that
# compete are slower than one. Files keep the order of tests/conftest.py, long ones first.
cores=$(python urnet/core/cpus.py) || exit 1
[ "$cores" -le 4 ] || cores=4
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
unset PYTHONDONTWRITEBYTECODE # hundreds of processes import the same files, which are compiled once
check pytest python -m pytest -n $((cores + 2)) --dist loadfile --no-loadscope-reorder -m 'not slow' "$@"
printf '== mypy\n'
wait "$mypy" || failed="$failed mypy"
cat "$types"

if [ -n "$failed" ]; then
    printf 'failed:%s\n' "$failed" >&2
    exit 1
fi
printf 'all passed\n'

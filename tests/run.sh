#!/bin/sh
# Sets up, then linter, formatter, import rules, type checker and tests. Arguments go to pytest:
# `sh tests/run.sh tests/core -k x`. All of them run even if one fails; the exit code is 0 only if all passed.
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
check mypy python -m mypy
# A process per core (at most 4), each computing with one thread: threads that compete are slower than one. Files keep
# the order of tests/conftest.py, long ones first.
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
unset PYTHONDONTWRITEBYTECODE # hundreds of processes import the same files, which are compiled once
check pytest python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

if [ -n "$failed" ]; then
    printf 'failed:%s\n' "$failed" >&2
    exit 1
fi
printf 'all passed\n'

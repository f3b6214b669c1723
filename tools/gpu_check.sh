#!/bin/sh
# What no machine without a GPU can run, in about ten minutes, as one table to send back: `sh tools/gpu_check.sh --help`.
# Uses the active environment where Paddle and pytest are in it, else set_env.sh's. Exit codes: 0 nothing failed, 1 a check
# failed, 2 bad usage or no GPU.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
ready='import importlib.util as u, sys; sys.exit(not (u.find_spec("paddle") and u.find_spec("pytest")))'
if ! python -c "$ready" 2>/dev/null; then
    URNET_ROOT=$root
    URNET_DEV=1
    # shellcheck source=set_env.sh
    . "$root/set_env.sh" || exit 1
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec python -m tools.gpu_check "$@"

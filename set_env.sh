# The environment of this project, for POSIX shells. Source it from the repository's folder:
#
#     . ./set_env.sh          (`. set_env.sh` in bash)
#
# It uses the active virtual environment or makes .venv, installs the requirements when they have changed since the
# last time, and exports what Paddle reads. Sourcing it again is safe and quick. What you may set before:
#
#     PYTHON=python3.12       the interpreter that makes .venv; default python3
#     URNET_DEVICE=cpu|gpu    which requirements to install; default gpu if `nvidia-smi -L` finds one, otherwise cpu
#     URNET_DEV=1             also install what tests, linter and type checker need (pyproject.toml's extra `dev`)
#     URNET_ROOT=FOLDER       the repository's folder, for shells other than bash in another folder
#
# Exported unless already set: with GPUs CUDA_VISIBLE_DEVICES, all of them (0,1,…); without one OMP_NUM_THREADS, the
# number of usable cores (Paddle's default is 1), and no CUDA_VISIBLE_DEVICES: Paddle's launcher would take it for a GPU.
# Not what the 2018 release exported as well, FLAGS_fraction_of_gpu_memory_to_use=1.0: Paddle's allocator grows as it is
# used and does not read it; the older one would take all memory at once and leave none to NCCL and cuDNN.
#
# Work is done in subshells, `( ... )`, so that the caller's options and variables stay as they are; a failure is one
# line on stderr and status 1, and never closes the caller's shell.

_urnet_say() { printf 'set_env.sh: %s\n' "$*" >&2; }

_urnet_find_root() ( # prints the repository's folder
    root=${URNET_ROOT:-}
    # shellcheck disable=SC3028,SC3054 # empty outside bash, where the working folder serves
    [ -n "$root" ] || root=$(dirname -- "${BASH_SOURCE:-./set_env.sh}")
    root=$(CDPATH='' cd -- "$root" 2>/dev/null && pwd -P)
    if [ ! -f "$root/set_env.sh" ] || [ ! -f "$root/pyproject.toml" ]; then
        _urnet_say "source it from the repository's folder, or set URNET_ROOT to that folder"
        return 1
    fi
    printf '%s\n' "$root"
)

_urnet_check_python() ( # PYTHON
    if ! command -v "$1" >/dev/null 2>&1; then
        _urnet_say "$1 was not found; Python 3.10 to 3.13 is needed"
        return 1
    fi
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version="broken"
    case $version in
    3.1[0-3]) ;;
    *)
        _urnet_say "$1 is Python $version; 3.10 to 3.13 is needed (set PYTHON=... to make a new .venv with another one)"
        return 1
        ;;
    esac
)

_urnet_make_venv() ( # FOLDER: made if missing, made anew if it has no working Python and pip
    if [ -x "$1/bin/python" ] && "$1/bin/python" -I -c 'import pip' 2>/dev/null; then
        _urnet_check_python "$1/bin/python"
        return
    fi
    python=${PYTHON:-python3}
    _urnet_check_python "$python" || return 1
    if ! "$python" -I -c 'import venv, ensurepip' 2>/dev/null; then
        _urnet_say "$python has no venv module with pip; on Debian and Ubuntu: apt install python3-venv"
        return 1
    fi
    _urnet_say "making the virtual environment $1"
    if ! "$python" -m venv --clear "$1" >&2; then
        _urnet_say "the virtual environment $1 could not be made"
        return 1
    fi
)

_urnet_gpus() { # the numbers of all GPUs: 0,1,2; 0 where nvidia-smi does not list them
    nvidia-smi -L 2>/dev/null | awk '/^GPU/ { printf "%s%d", comma, n++; comma = "," } END { if (!n) printf "0" }'
}

_urnet_has_gpu() (
    case ${URNET_DEVICE:-} in
    cpu) return 1 ;;
    gpu) return 0 ;;
    esac
    nvidia-smi -L >/dev/null 2>&1
)

_urnet_fingerprint() ( # PYTHON ROOT FILE: hash of the interpreter's version, the folder, pyproject.toml and the file
    "$1" -I -c 'import hashlib, sys
digest = hashlib.sha256((sys.version + sys.argv[1]).encode())
for name in ("pyproject.toml", sys.argv[2]):
    with open(sys.argv[1] + "/" + name, "rb") as stream:
        digest.update(stream.read())
print(digest.hexdigest())' "$2" "$3"
)

_urnet_install() ( # VENV ROOT FILE PIP_ARGUMENT ...: pip install, unless the last success was with the same files
    venv=$1 root=$2 file=$3
    shift 3
    name=$(basename -- "$file" .toml)
    stamp=$venv/.urnet-$name.sha256
    hash=$(_urnet_fingerprint "$venv/bin/python" "$root" "$file") || return 1
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$hash" ]; then
        return 0
    fi
    rm -f -- "$stamp"
    _urnet_say "installing $* into $venv (the first time takes minutes)"
    cd -- "$root" || return 1 # what is installed in place, `-e .`, is found from here
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2; then
        _urnet_say "pip could not install $*; nothing was recorded, the next call tries again"
        return 1
    fi
    printf '%s\n' "$hash" >"$stamp"
)

_urnet_remove_other() ( # VENV NAME PACKAGE: the CPU and the GPU package of Paddle own the same files
    stamp=$1/.urnet-$2.sha256
    [ -f "$stamp" ] || return 0
    _urnet_say "removing $3, which was installed from $2"
    "$1/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check "$3" >&2 && rm -f -- "$stamp"
)

_urnet_prepare() ( # ROOT VENV cpu|gpu: everything that is installed
    if [ "$3" = gpu ]; then
        _urnet_remove_other "$2" requirements.txt paddlepaddle &&
            _urnet_install "$2" "$1" requirements-gpu.txt -r requirements-gpu.txt
    else
        _urnet_remove_other "$2" requirements-gpu.txt paddlepaddle-gpu &&
            _urnet_install "$2" "$1" requirements.txt -r requirements.txt
    fi || return 1
    if [ -n "${URNET_DEV:-}" ]; then
        _urnet_install "$2" "$1" pyproject.toml -e '.[dev]' || return 1
    fi
)

_urnet_main() { # the only function that changes the caller's environment
    _urnet_root=$(_urnet_find_root) || return 1
    _urnet_device=cpu
    if _urnet_has_gpu; then _urnet_device=gpu; fi
    _urnet_venv=${VIRTUAL_ENV:-}
    if [ -n "$_urnet_venv" ]; then
        _urnet_check_python "$_urnet_venv/bin/python" || return 1
    else
        _urnet_venv=$_urnet_root/.venv
        _urnet_make_venv "$_urnet_venv" || return 1
    fi
    _urnet_prepare "$_urnet_root" "$_urnet_venv" "$_urnet_device" || return 1
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        # shellcheck disable=SC1091 # made above
        . "$_urnet_venv/bin/activate" || return 1
    fi
    case :$PATH: in
    *:"$_urnet_venv/bin":*) ;;
    *) export PATH="$_urnet_venv/bin:$PATH" ;;
    esac
    if [ "$_urnet_device" = gpu ] && [ -z "${CUDA_VISIBLE_DEVICES+set}" ]; then
        CUDA_VISIBLE_DEVICES=$(_urnet_gpus)
        export CUDA_VISIBLE_DEVICES
    fi
    if [ "$_urnet_device" = cpu ] && [ -z "${OMP_NUM_THREADS+set}" ]; then
        OMP_NUM_THREADS=$("$_urnet_venv/bin/python" "$_urnet_root/urnet/core/cpus.py") || return 1
        export OMP_NUM_THREADS
    fi
}

_urnet_forget() { # leaves nothing of ours in the caller's shell; its status is the one it was given
    unset _urnet_root _urnet_device _urnet_venv
    unset -f _urnet_say _urnet_find_root _urnet_check_python _urnet_make_venv _urnet_gpus _urnet_has_gpu
    unset -f _urnet_fingerprint
    unset -f _urnet_install _urnet_remove_other _urnet_prepare _urnet_main _urnet_forget
    return "$1"
}

if _urnet_main; then _urnet_forget 0; else _urnet_forget 1; fi

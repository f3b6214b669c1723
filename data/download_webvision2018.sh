#!/bin/sh
# Downloads WebVision 2018 (2.0) into this folder; `sh data/download_webvision2018.sh --help` says how.
set -u

usage() {
    cat <<'END'
usage: sh data/download_webvision2018.sh [val] [train] [info] [test] [all]

  val    validation images and list: val/, val_list.txt (the default)
  info   lists, queries, synsets and metadata of the training images: info/
  train  the 33 archives of training images: train/ (hundreds of gigabytes)
  test   test images and list: test/, test_list.txt
  all    info, val, train, test

Everything lands beside this script. Broken transfers go on where they stopped, sizes are compared with the server's,
archives are checked before they are unpacked and removed afterwards, and what is complete is skipped: call the same
line again after an interruption. The server restarts at midnight in Zurich; the script waits and tries again.
curl or wget, and tar, are needed. What you may set before:

  WEBVISION_URL      a mirror; default https://data.vision.ee.ethz.ch/cvl/webvision2018
  WEBVISION_DIR      where to write; default this script's folder
  WEBVISION_TRIES    attempts in a row that bring nothing new before giving up; default 60
  WEBVISION_WAIT     seconds between attempts; default 60
  WEBVISION_STALL    seconds without a byte before a transfer counts as broken; default 60
  WEBVISION_CLIENT   curl or wget; default the first that is there
  WEBVISION_KEEP     1: keep archives after unpacking

Exit codes: 0 done, 1 failed, 2 bad usage.
END
}

program=download_webvision2018.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
# shellcheck source=data/unpack.sh
. "$here/unpack.sh"

headers_of() { # URL: the headers of its last answer, whatever the status
    if [ "$client" = curl ]; then
        curl -sIL --connect-timeout "$stall" --max-time "$stall" -- "$1"
    else
        wget --spider --server-response --tries=1 --timeout="$stall" -- "$1" 2>&1
    fi | tr -d '\r'
}

ask_size() { # URL: sets `status` (three digits, empty without an answer) and `size` (empty if not told)
    answer=$(headers_of "$1" | awk '
        /^ *HTTP\// { status = $2; size = ""; next }
        tolower($1) == "content-length:" && $2 ~ /^[0-9]+$/ { size = $2 }
        END { print status "/" size }')
    status=${answer%%/*}
    size=${answer#*/}
}

transfer() { # URL FILE: appends what is missing; may stop early; a bar on a terminal, silence elsewhere
    if [ "$client" = wget ]; then
        set -- "$1" "$2" --progress=bar
        if [ ! -t 2 ]; then set -- "$1" "$2" -q; fi
        wget "$3" --tries=1 --timeout="$stall" -c -O "$2" -- "$1"
        return
    fi
    set -- "$1" "$2" -#
    if [ ! -t 2 ]; then set -- "$1" "$2" -s; fi
    curl "$3" -f -L --connect-timeout "$stall" --speed-limit 1 --speed-time "$stall" -C - -o "$2" -- "$1"
    code=$?
    if [ "$code" -eq 33 ]; then rm -f -- "$2"; fi # the server cannot continue a file: from the start
    return "$code"
}

fetch() { # NAME: downloads NAME into $dir, complete
    url=$base/$1
    part=$dir/$1.part
    best=$(file_size "$part")
    failures=0
    while :; do
        have=$(file_size "$part")
        ended=""
        ask_size "$url"
        case $status/$size in
        200/)
            say "$1: the server does not tell its size, so it could not be verified"
            return 1
            ;;
        200/*)
            if [ "$have" -gt "$size" ]; then # another version, or a server that sends too much
                rm -f -- "$part"
                have=0
            fi
            if [ "$have" -lt "$size" ] || [ ! -f "$part" ]; then
                need_space "$dir" "$((size - have))" "$1" || return 1
                transfer "$url" "$part" || ended=" ($client ended with $?)"
                have=$(file_size "$part")
            fi
            if [ -f "$part" ] && [ "$have" -eq "$size" ]; then
                rm -f -- "$dir/.transfer.log"
                mv -- "$part" "$dir/$1"
                return
            fi
            what="$have of $size bytes are here$ended"
            ;;
        408/* | 429/*) what="the server is busy (status $status)" ;;
        4*)
            say "$1: the server answers $status to $url"
            return 1
            ;;
        /*) what="no answer from $base" ;;
        *) what="the server is not ready (status $status)" ;;
        esac
        failures=$((failures + 1))
        if [ "$have" -gt "$best" ] && [ "$have" -lt "${size:-0}" ]; then
            best=$have
            failures=0
        fi
        if [ "$failures" -ge "$tries" ]; then
            say "$1: given up after $failures attempts that brought nothing new; $what"
            return 1
        fi
        say "$1: $what; trying again in $wait s"
        sleep "$wait"
    done
}

fetch_archive() { # NAME: as fetch, but an archive that is there whole is not fetched again
    if [ -f "$dir/$1" ]; then
        say "$1 is already here"
    else
        say "fetching $1"
        fetch "$1"
    fi
}

finish_archive() { # STATUS NAME: after unpacking
    if [ "$1" -ne 0 ]; then
        say "$2 stays in $dir; remove it if it should be fetched again"
        return "$1"
    fi
    if [ -z "${WEBVISION_KEEP:-}" ]; then rm -f -- "$dir/$2"; fi
}

get_tree() { # ARCHIVE FOLDER
    if [ -d "$dir/$2" ]; then
        say "$2/ is already here"
        return
    fi
    fetch_archive "$1" || return 1
    unpack_as "$dir/$1" "$dir/$2"
    finish_archive $? "$1"
}

get_list() { # NAME FILE
    if [ -f "$dir/$2" ]; then
        say "$2 is already here"
        return
    fi
    say "fetching $1"
    fetch "$1" && mv -- "$dir/$1" "$dir/$2"
}

get_train() {
    mkdir -p -- "$dir/train" || return 1
    number=0
    while [ "$number" -le 32 ]; do
        archive=webvision_train_$(printf '%02d' "$number").tar
        done_mark=$dir/train/.$archive.unpacked
        if [ -f "$done_mark" ]; then
            say "$archive is already unpacked"
        else
            fetch_archive "$archive" || return 1
            unpack "$dir/$archive" "$dir/train" && : >"$done_mark"
            finish_archive $? "$archive" || return 1
        fi
        number=$((number + 1))
    done
}

get() { # KIND
    case $1 in
    val) get_tree val_images_resized.tar val && get_list val_filelist.txt val_list.txt ;;
    test) get_tree test_images_resized.tar test && get_list test_filelist.txt test_list.txt ;;
    info) get_tree info.tar info ;;
    train) get_train ;;
    all) get info && get val && get train && get test ;;
    esac
}

for kind; do
    case $kind in
    val | train | info | test | all) ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        say "found '$kind'; val, train, info, test, all or --help is accepted"
        exit 2
        ;;
    esac
done

base=${WEBVISION_URL:-https://data.vision.ee.ethz.ch/cvl/webvision2018}
base=${base%/}
dir=${WEBVISION_DIR:-$here}
tries=${WEBVISION_TRIES:-60}
wait=${WEBVISION_WAIT:-60}
stall=${WEBVISION_STALL:-60}
client=${WEBVISION_CLIENT:-}
case $wait in
"" | *[!0-9]*)
    say "WEBVISION_WAIT is a whole number of seconds, found '$wait'"
    exit 2
    ;;
esac
for number in "$tries" "$stall"; do
    case $number in
    "" | 0 | *[!0-9]*)
        say "WEBVISION_TRIES and WEBVISION_STALL are whole numbers above 0, found '$number'"
        exit 2
        ;;
    esac
done
if [ -z "$client" ]; then
    if command -v curl >/dev/null 2>&1; then client=curl; else client=wget; fi
fi
case $client in curl | wget) ;; *)
    say "WEBVISION_CLIENT is '$client'; curl or wget is accepted"
    exit 2
    ;;
esac
for tool in "$client" tar awk; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        say "$tool was not found; curl or wget, and tar, are needed"
        exit 1
    fi
done
mkdir -p -- "$dir" || exit 1

[ "$#" -gt 0 ] || set -- val
for kind; do
    get "$kind" || exit 1
done

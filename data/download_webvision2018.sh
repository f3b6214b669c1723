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

Everything goes to data/webvision2018/, where the recipes in recipes/webvision2018/ read it; they need info, train and
val. The 2018 release's names data/val and data/val_list.txt become links to it. If an earlier call wrote into data/
itself, this one continues there and says so.

Broken transfers continue where they stopped. Sizes are compared with the server's, archives and lists are checked
before they get their names, archives are removed after unpacking, and complete files are skipped: after an
interruption, call the same line again. The server restarts at midnight in Zurich; the script waits and tries again, but
only three times if no server has responded at all. It needs curl or wget, and tar. You can set beforehand:

  WEBVISION_URL      a mirror; default https://data.vision.ee.ethz.ch/cvl/webvision2018
  WEBVISION_DIR      where to write; default webvision2018 in this script's folder. For another place give recipes
                     -o data.root=FOLDER
  WEBVISION_TRIES    attempts in a row that bring nothing new before giving up; default 60
  WEBVISION_WAIT     seconds between attempts; default 60
  WEBVISION_STALL    seconds without a byte before a transfer counts as broken; default 60
  WEBVISION_CLIENT   curl or wget; default the first one installed
  WEBVISION_KEEP     1: keep archives after unpacking

Exit codes: 0 done, 1 failed, 2 bad usage.
END
}

program=download_webvision2018.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
# shellcheck source=data/unpack.sh
. "$here/unpack.sh"

headers_of() { # URL: the headers of its last answer, whatever the status, and what the client complains of
    if [ "$client" = curl ]; then
        curl -sSIL --connect-timeout "$stall" --max-time "$stall" -- "$1" 2>&1
    else
        wget --spider --server-response --tries=1 --timeout="$stall" -- "$1" 2>&1
    fi | tr -d '\r'
}

complaint() { # the last line on stdin in which curl or wget says what went wrong, nothing if there is none
    awk '/^(curl|wget): |(^| )(failed|ERROR[^:]*|Read error[^:]*): |^Unable to / { sub(/^--[^ ]* [^ ]* /, ""); line = $0 }
        END { if (line != "") print ": " line }'
}

ask_size() { # URL: sets `status` (three digits, empty without an answer), `size` (empty if not told) and `reason`
    headers=$(headers_of "$1")
    answer=$(printf '%s\n' "$headers" | awk '
        /^ *HTTP\// { status = $2; size = ""; next }
        tolower($1) == "content-length:" && $2 ~ /^[0-9]+$/ { size = $2 }
        END { print status "/" size }')
    status=${answer%%/*}
    size=${answer#*/}
    reason=$(printf '%s\n' "$headers" | complaint)
    if [ -n "$status" ]; then answered=yes; fi
}

transfer() { # URL FILE: appends what is missing; may stop early; a bar on a terminal, else its complaints alone
    if [ "$client" = wget ]; then
        set -- "$1" "$2" --progress=bar
        if [ ! -t 2 ]; then set -- "$1" "$2" -nv; fi
        wget "$3" --tries=1 --timeout="$stall" -c -O "$2" -- "$1"
        return
    fi
    set -- "$1" "$2" -#
    if [ ! -t 2 ]; then set -- "$1" "$2" -sS; fi
    curl "$3" -f -L --connect-timeout "$stall" --speed-limit 1 --speed-time "$stall" -C - -o "$2" -- "$1"
    code=$?
    if [ "$code" -eq 33 ]; then rm -f -- "$2"; fi # the server cannot continue a file: from the start
    return "$code"
}

try_transfer() { # URL FILE: as transfer; sets `ended`, why it stopped early
    if [ -t 2 ]; then
        transfer "$1" "$2" && return
        ended=" ($client ended with $?)"
    else
        complaints=$(transfer "$1" "$2" 2>&1) && return
        ended=" ($client ended with $?$(printf '%s\n' "$complaints" | complaint))"
    fi
}

fetch() { # NAME CHECK: downloads NAME into $dir, complete; CHECK FILE prints what is wrong with it
    url=$base/$1
    part=$dir/$1.part
    best=$(file_size "$part")
    if [ "$best" -gt 0 ]; then answered=yes; fi
    failures=0
    while :; do
        if [ -f "$part" ] && [ -n "$(other_kind "$part")" ]; then rm -f -- "$part"; fi # not to be continued
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
                try_transfer "$url" "$part"
                have=$(file_size "$part")
            fi
            if [ -f "$part" ] && [ "$have" -eq "$size" ]; then
                name_checked "$1" "$2"
                return
            fi
            what="$have of $size bytes are here$ended"
            ;;
        408/* | 429/*) what="the server is busy (status $status)" ;;
        4*)
            say "$1: the server returns $status for $url"
            return 1
            ;;
        /*) what="no response from $base$reason" ;;
        *) what="the server is not ready (status $status)" ;;
        esac
        failures=$((failures + 1))
        if [ "$have" -gt "$best" ] && [ "$have" -lt "${size:-0}" ]; then
            best=$have
            failures=0
        fi
        limit=$tries
        if [ -z "$answered" ] && [ "$limit" -gt 3 ]; then limit=3; fi
        if [ "$failures" -ge "$limit" ]; then
            say "$1: gave up after $failures attempts that brought nothing new; $what"
            return 1
        fi
        say "$1: $what; trying again in $wait s"
        sleep "$wait"
    done
}

name_checked() { # NAME CHECK: the complete part of NAME gets its name if CHECK finds nothing wrong
    fault=$("$2" "$part")
    if [ -z "$fault" ]; then
        mv -- "$part" "$dir/$1"
    elif [ -n "$(other_kind "$part")" ] || [ "$2" != end_fault ]; then # small, and of no use
        rm -f -- "$part"
        say "$1 $fault; nothing was kept. Open $url in a browser to see why, or run the same command later"
        return 1
    else
        say "$1 $fault; nothing was unpacked. The server has it like this; remove $part to fetch it again"
        return 1
    fi
}

list_fault() ( # LIST: prints what is wrong with a list of images, nothing if every line is one
    LC_ALL=C
    export LC_ALL
    kind=$(other_kind "$1")
    if [ -n "$kind" ]; then
        echo "is $kind, not a list of images"
        exit
    fi
    case ${1##*/} in
    val_*) form="path label" ;;
    *) form="path" ;;
    esac
    awk -v form="$form" '
        NR == 1 { sub(/^\357\273\277/, "") }
        { sub(/\r$/, ""); label = "" }
        /^[ \t]*$/ { next }
        { n++; path = $0 }
        match(path, /[ \t]+-?[0-9]+$/) { label = substr(path, RSTART); path = substr(path, 1, RSTART - 1) }
        path ~ /^\// || path ~ /(^|\/)\.\.(\/|$)/ || path ~ /[<>{}"]/ || path !~ /[^\/]\.[A-Za-z0-9]+$/ || \
        (form ~ /label/ && (label == "" || label + 0 < 0 || label + 0 > 4999)) {
            gsub(/[^ -~]/, " ")
            said = "has in line " NR " \"" substr($0, 1, 60) "\"; lines of `" form "` are accepted"
            if (form ~ /label/) said = said ", labels from 0 to 4999"
            exit
        }
        END { if (said != "") print said; else if (!n) print "is empty" }' "$1"
)

list_misses() ( # LIST (its whole path) FOLDER: prints which images the list and the folder do not have both
    cd -- "$2" || exit
    find . ! -type d | sed 's|^\./||' | awk -v folder="$(basename -- "$2")/" '
        NR == FNR { there[$0]; images++; next }
        FNR == 1 { sub(/^\357\273\277/, "") }
        { sub(/\r$/, ""); sub(/[ \t]+-?[0-9]+$/, "") }
        $0 == "" || $0 in named { next }
        { named[$0]; n++ }
        !($0 in there) { if (!missing++) first = $0 }
        END {
            if (missing == n) printf "names none of the images in %s", folder
            else if (missing) printf "names %d images that are not in %s, the first is %s", missing, folder, first
            else if (n < images) printf "names %d of the %d images in %s", n, images, folder
        }' - "$1"
)

fetch_archive() { # NAME: as fetch, but an archive that is there whole is not fetched again
    if [ -f "$dir/$1" ]; then
        say "$1 is already here"
    else
        say "fetching $1"
        fetch "$1" end_fault
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
    if [ ! -d "$dir/$2" ]; then
        fetch_archive "$1" || return 1
        unpack_as "$dir/$1" "$dir/$2"
        finish_archive $? "$1"
        return
    fi
    if ! holds_files "$dir/$2"; then
        say "$2/ is here, but contains no file; remove it and run this again: rm -r '$dir/$2'"
        return 1
    fi
    say "$2/ is already here"
}

get_list() { # NAME FILE FOLDER: the list of the images in FOLDER
    list=$dir/$2
    if [ -f "$list" ]; then
        remedy="remove it and call again: rm '$list'"
        fault=$(list_fault "$list") # kept by an earlier call, or edited
    else
        say "fetching $1"
        fetch "$1" list_fault || return 1
        list=$dir/$1
        remedy="nothing was kept; call the same line later"
        fault=""
    fi
    misses=""
    if [ -z "$fault" ]; then misses=$(list_misses "$list" "$dir/$3"); fi
    case $misses in
    "") ;;
    "names none"*) fault=$misses ;;
    *) if [ "$(tail -c 1 -- "$list" | wc -l)" -eq 0 ]; then fault="$misses, and its last line has no end: it was cut off"; fi ;;
    esac
    if [ -n "$fault" ]; then
        if [ "$list" != "$dir/$2" ]; then rm -f -- "$list"; fi
        say "$2 $fault; $remedy"
        return 1
    fi
    if [ -n "$misses" ]; then say "note: $2 $misses"; fi
    if [ "$list" = "$dir/$2" ]; then say "$2 is already here"; else mv -- "$list" "$dir/$2"; fi
}

get_info() { # the lists in it are read by the recipes, which name the line that is wrong; a page in their place is found here
    get_tree info.tar info || return 1
    for list in "$dir"/info/*.txt; do
        kind=$(other_kind "$list")
        if [ -n "$kind" ]; then
            say "$list is $kind, not text of WebVision; remove $dir/info and run this again: rm -r '$dir/info'"
            return 1
        fi
    done
}

get_train() {
    number=0
    while [ "$number" -le 32 ]; do
        archive=webvision_train_$(printf '%02d' "$number").tar
        done_mark=$dir/train/.$archive.unpacked
        if [ -f "$done_mark" ]; then
            say "$archive is already unpacked"
        else
            fetch_archive "$archive" && mkdir -p -- "$dir/train" || return 1
            unpack "$dir/$archive" "$dir/train" && : >"$done_mark"
            finish_archive $? "$archive" || return 1
        fi
        number=$((number + 1))
    done
}

link_release() { # the names of the 2018 release, which its commands and run.sh read, where nothing has them yet
    [ "$dir" = "$here/webvision2018" ] || return 0
    for name in val val_list.txt; do
        if [ -e "$here/$name" ]; then continue; fi
        ln -sf "webvision2018/$name" "$here/$name" || say "$here/$name could not be made a link to $dir/$name"
    done
}

default_dir() { # sets `dir`: data/webvision2018, or data/ itself where earlier versions of this script wrote
    dir=$here/webvision2018
    for name in info train val test info.tar* val_images_resized.tar* test_images_resized.tar* webvision_train_*; do
        for found in "$here"/$name; do
            if [ ! -e "$found" ] || [ -L "$found" ]; then continue; fi
            dir=$here
            say "continuing in $here, where an earlier call left $(basename -- "$found"); give recipes -o data.root=$here"
            return
        done
    done
}

get() { # KIND
    case $1 in
    val) get_tree val_images_resized.tar val && get_list val_filelist.txt val_list.txt val && link_release ;;
    test) get_tree test_images_resized.tar test && get_list test_filelist.txt test_list.txt test ;;
    info) get_info ;;
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
dir=${WEBVISION_DIR:-}
tries=${WEBVISION_TRIES:-60}
wait=${WEBVISION_WAIT:-60}
stall=${WEBVISION_STALL:-60}
client=${WEBVISION_CLIENT:-}
case $wait in
"" | *[!0-9]*)
    say "WEBVISION_WAIT must be a whole number of seconds; found '$wait'"
    exit 2
    ;;
esac
for number in "$tries" "$stall"; do
    case $number in
    "" | 0 | *[!0-9]*)
        say "WEBVISION_TRIES and WEBVISION_STALL must be whole numbers above 0; found '$number'"
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
[ -n "$dir" ] || default_dir
made=""
if [ ! -d "$dir" ]; then made=yes; fi
mkdir -p -- "$dir" || exit 1
dir=$(CDPATH='' cd -- "$dir" && pwd) || exit 1

answered=""
[ "$#" -gt 0 ] || set -- val
for kind; do
    if ! get "$kind"; then
        if [ -n "$made" ]; then rmdir -- "$dir" 2>/dev/null; fi # if nothing came
        exit 1
    fi
done
case " $* " in
*" info "* | *" train "* | *" all "*)
    if [ "$dir" != "$here/webvision2018" ]; then say "the recipes read data/webvision2018; for this folder give -o data.root='$dir'"; fi
    ;;
esac

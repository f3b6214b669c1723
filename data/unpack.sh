# Sourced by the scripts in this folder: checks and unpacks what others wrote or sent. POSIX sh, GNU or BSD tar.
#
# An archive is refused whole, before anything is written, if it is not complete or if any member could land or point
# outside the folder: an absolute path, a `..` in a path, a symbolic or hard link to such a path, a device or a pipe.

say() { printf '%s: %s\n' "${program:-unpack.sh}" "$*" >&2; }

other_kind() ( # FILE: what a server or a browser left in the place of a list or archive; nothing if nothing is known
    LC_ALL=C
    export LC_ALL
    case $(od -An -tx1 -N 4 -- "$1" | tr -d ' \n') in
    "") kind="empty" ;;
    1f8b*) kind="compressed (gzip)" ;;
    504b0304) kind="a zip archive" ;;
    25504446) kind="a PDF document" ;;
    *)
        first=$(head -c 4096 -- "$1" | tr -d '\000\357\273\277' | tr -c '[:print:]\n' ' ' | awk '
            NF { sub(/^ +/, ""); print substr($0, 1, 60); exit }')
        case $first in
        "<"*) kind="a web page that begins '$first'" ;;
        "{"* | "["*) kind="JSON that begins '$first'" ;;
        *) kind="" ;;
        esac
        ;;
    esac
    printf '%s' "$kind"
)

end_fault() ( # ARCHIVE: what is wrong with its end, two blocks of zeros (tar itself does not mind when they are missing)
    if [ "$(file_size "$1")" -ge 1024 ] && [ "$(tail -c 1024 -- "$1" | tr -d '\000' | wc -c)" -eq 0 ]; then return; fi
    kind=$(other_kind "$1")
    echo "${kind:+($kind) }is not a whole tar archive"
)

tar_fault() ( # ARCHIVE: prints what is wrong with it, nothing if it is sound
    LC_ALL=C
    export LC_ALL
    case $1 in
    *.gz) ;;  # its end cannot be seen without unpacking; tar notices if it is missing
    *)
        fault=$(end_fault "$1")
        if [ -n "$fault" ]; then
            printf '%s' "$fault"
            exit
        fi
        ;;
    esac
    # -P: names and link targets as they are written in the archive
    fault=$({ tar -tvPf "$1" || echo '!'; } 2>/dev/null | awk '
        function leaves(path) { return path ~ /^\// || path ~ /(^|\/)\.\.(\/|$)/ }
        { kind = substr($0, 1, 1) }
        kind == "!" { print "is not a whole tar archive"; exit }
        kind == "-" || kind == "d" { next }
        kind != "l" && kind != "h" { print "holds a member that is not a file, folder or link: " $0; exit }
        {
            mark = kind == "l" ? " -> " : " link to "
            rest = $0  # a name may hold the mark too: every reading of the line must be safe
            while ((at = index(rest, mark)) > 0) {
                rest = substr(rest, at + length(mark))
                if (leaves(rest)) { print "holds a link that leads out of the folder: " rest; exit }
            }
        }')
    if [ -z "$fault" ]; then
        fault=$(tar -tPf "$1" 2>/dev/null | awk '
            /^\// || /(^|\/)\.\.(\/|$)/ { print "holds a member that leads out of the folder: " $0; exit }')
    fi
    printf '%s' "$fault"
)

need_space() ( # FOLDER BYTES WHAT
    free=$(df -Pk -- "$1" | awk 'NR == 2 { print $4 }')
    if [ "$(($2 / 1024))" -gt "$free" ]; then
        say "$3 needs $(($2 / 1048576)) MiB, but $1 has $((free / 1024)) MiB free"
        return 1
    fi
)

file_size() { # FILE: its bytes, 0 if it is not there
    if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

holds_files() { [ -n "$(find "$1/." ! -type d -print 2>/dev/null | head -n 1)" ]; } # FOLDER, or one below it

unpack() ( # ARCHIVE FOLDER: checked, then unpacked into a folder that exists
    fault=$(tar_fault "$1")
    if [ -n "$fault" ]; then
        say "$1 $fault; nothing was unpacked"
        return 1
    fi
    need_space "$2" "$(file_size "$1")" "unpacking $1" || return 1
    if ! tar -xf "$1" -C "$2" --no-same-owner --no-same-permissions; then
        say "$1 could not be unpacked into $2"
        return 1
    fi
)

unpack_as() ( # ARCHIVE FOLDER: as `unpack`, but FOLDER appears whole or not at all; a single top folder is left out
    fresh=$(dirname -- "$2")/.$(basename -- "$2").unpacking
    rm -rf -- "$fresh" && mkdir -p -- "$fresh" || return 1
    if ! unpack "$1" "$fresh"; then
        rm -rf -- "$fresh"
        return 1
    fi
    inner=$(find "$fresh/." ! -name . -prune) # several entries make several lines, which is not a folder's name
    [ -d "$inner" ] || inner=$fresh
    if ! holds_files "$inner"; then
        say "$1 holds no file; nothing was unpacked"
        rm -rf -- "$fresh"
        return 1
    fi
    mv -- "$inner" "$2" || return 1
    rm -rf -- "$fresh"
)

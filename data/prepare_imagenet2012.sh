#!/bin/sh
# Unpacks the ImageNet 2012 archives and writes their lists; `sh data/prepare_imagenet2012.sh --help` says how.
set -u

usage() {
    cat <<'END'
usage: sh data/prepare_imagenet2012.sh SOURCE [TARGET]

SOURCE holds what image-net.org hands out:

  ILSVRC2012_img_train.tar   1,000 archives, one per class
  ILSVRC2012_img_val.tar     50,000 validation images
  and one of these, for the validation labels:
  ILSVRC2012_devkit_t12.tar.gz   the development kit (read with Python and SciPy: source set_env.sh first)
  val_synsets.txt                one class per line (n01440764), line i for image i

TARGET (default: SOURCE) receives train/n01440764/*.JPEG, val/*.JPEG, and the lists train_list.txt and val_list.txt,
lines of `path label`, paths from TARGET, labels from 0 in the order of the sorted class names (synsets.txt).

One class archive is on the disk at a time, so TARGET needs the room of the images and 1 GB more. The two big archives
are left alone. A class that is complete is skipped: call the same line again after an interruption.
What you may set before: IMAGENET_CLASSES, the number of classes expected, for subsets; default 1000.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
END
}

program=prepare_imagenet2012.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
# shellcheck source=data/unpack.sh
. "$here/unpack.sh"
LC_ALL=C # one order of names on every machine
export LC_ALL

refuse() {
    say "$*"
    exit 2
}

class_archives() { # prints the sorted names of the class archives inside the train archive
    members=$(tar -tf "$train_tar" 2>/dev/null) || refuse "$train_tar is not a whole tar archive"
    wrong=$(printf '%s\n' "$members" | grep -Evx 'n[0-9]{8}\.tar' | head -n 1)
    [ -z "$wrong" ] || refuse "$train_tar holds '$wrong'; archives named like n01440764.tar are accepted"
    found=$(printf '%s\n' "$members" | sort -u | wc -l | tr -d ' ')
    [ "$found" -eq "$classes" ] || refuse "$train_tar holds $found classes; $classes are expected"
    printf '%s\n' "$members" | sort -u
}

check_validation() { # whether the validation archive, its labels and the training classes belong together
    fault=$(tar_fault "$val_tar")
    [ -z "$fault" ] || refuse "$val_tar $fault"
    tar -tf "$val_tar" 2>/dev/null | sed -n 's|^.*/||; /\.JPEG$/p' | sort >"$work/members"
    same_number "$(wc -l <"$work/members" | tr -d ' ')" "$val_tar: "
    printf '%s\n' "$archives" | sed 's/\.tar$//' >"$work/classes"
    unknown=$(paste -d ' ' "$work/members" "$work/val_synsets" | awk '
        NR == FNR { there[$1]; next }
        !($2 in there) { print "val/" $1 ": class " $2; exit }' "$work/classes" -)
    [ -z "$unknown" ] || refuse "$unknown is not among the training classes"
}

same_number() { # IMAGES PREFIX [SUFFIX]: as many images as classes that are given for them
    lines=$(wc -l <"$work/val_synsets" | tr -d ' ')
    [ "$1" -eq "$lines" ] || refuse "$2val/ holds $1 images, but classes are given for $lines${3-}"
}

validation_synsets() { # prints one class name per line, line i for validation image i
    if [ -f "$source/val_synsets.txt" ]; then
        tr -d '\r' <"$source/val_synsets.txt"
    elif [ -f "$devkit" ]; then
        kind=$(other_kind "$devkit")
        case $kind in
        "" | "compressed (gzip)") ;;
        *) refuse "$devkit is $kind, not the development kit's archive; fetch it again from image-net.org" ;;
        esac
        python=python
        command -v python >/dev/null 2>&1 || python=python3
        "$python" "$here/imagenet_devkit.py" "$devkit"
    else
        refuse "$source holds neither val_synsets.txt nor ILSVRC2012_devkit_t12.tar.gz: no validation labels"
    fi
}

unpack_train() { # one class archive at a time, each into its own folder, which appears when it is complete
    mkdir -p -- "$target/train" || return 1
    number=0
    for archive in $archives; do
        number=$((number + 1))
        if [ $((number % 50)) -eq 0 ]; then say "train: class $number of $classes"; fi
        [ ! -d "$target/train/${archive%.tar}" ] || continue
        if ! tar -xOf "$train_tar" "$archive" >"$target/train/.$archive"; then
            say "$archive could not be taken out of $train_tar"
            return 1
        fi
        unpack_as "$target/train/.$archive" "$target/train/${archive%.tar}" || return 1
        rm -f -- "$target/train/.$archive"
    done
}

unpack_val() {
    if [ -d "$target/val" ]; then
        say "val/ is already here"
    else
        say "val: unpacking"
        unpack_as "$val_tar" "$target/val"
    fi
}

images_in() ( # FOLDER below TARGET: the sorted paths of its images, written to $work/images
    cd -- "$target" || return 1
    find "$1" -type f -name '*.JPEG' ! -path '*/.*' >"$work/found" && sort -o "$work/images" "$work/found"
)

label_lines() { # LIST: lines of `path class` in $work/pairs become lines of `path label` in LIST
    awk '
        NR == FNR { label[$1] = NR - 1; next }
        !($2 in label) { print $1 ": class " $2 " is not among the training classes" > "/dev/stderr"; exit 2 }
        { print $1, label[$2] }
    ' "$target/synsets.txt" "$work/pairs" >"$work/list" || return
    mv -- "$work/list" "$target/$1"
}

write_train_list() { # an image's class is the name of its folder
    images_in train || return 1
    empty=$(awk -F/ 'NR == FNR { there[$2]; next } !($1 in there) { print $1; exit }' "$work/images" "$target/synsets.txt")
    [ -z "$empty" ] || refuse "train/$empty holds no image; rm -r '$target/train/$empty' to unpack it again"
    awk -F/ '{ print $0, $2 }' "$work/images" >"$work/pairs" && label_lines train_list.txt
}

write_val_list() { # image i in sorted order belongs to the class in line i
    images_in val || return 1
    images=$(wc -l <"$work/images" | tr -d ' ')
    same_number "$images" "" "; rm -r '$target/val' to unpack it again"
    paste -d ' ' "$work/images" "$work/val_synsets" >"$work/pairs" && label_lines val_list.txt
}

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
esac
if [ "$#" -lt 1 ] || [ "$#" -gt 2 ]; then refuse "found $# arguments; SOURCE [TARGET] or --help is accepted"; fi
[ -d "$1" ] || refuse "$1: no such folder"
source=$(CDPATH='' cd -- "$1" && pwd -P) || exit 1
mkdir -p -- "${2:-$source}" || exit 1
target=$(CDPATH='' cd -- "${2:-$source}" && pwd -P) || exit 1
train_tar=$source/ILSVRC2012_img_train.tar
val_tar=$source/ILSVRC2012_img_val.tar
devkit=$source/ILSVRC2012_devkit_t12.tar.gz
classes=${IMAGENET_CLASSES:-1000}
for archive in "$train_tar" "$val_tar"; do
    [ -f "$archive" ] || refuse "$archive is missing"
    fault=$(end_fault "$archive")
    [ -z "$fault" ] || refuse "$archive $fault; fetch it again from image-net.org"
done

work=$(mktemp -d "$target/.prepare.XXXXXX") || exit 1
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What can be wrong with the input shows before hours of unpacking.
archives=$(class_archives) || exit $?
validation_synsets >"$work/val_synsets" || exit $?
wrong=$(grep -Evnx 'n[0-9]{8}' "$work/val_synsets" | head -n 1)
[ -z "$wrong" ] || refuse "validation labels, line $wrong: a class name like n01440764 is accepted"
[ -d "$target/val" ] || check_validation

say "train: $classes classes from $train_tar"
unpack_train || exit 1
unpack_val || exit 1
printf '%s\n' "$archives" | sed 's/\.tar$//' >"$work/synsets" && mv -- "$work/synsets" "$target/synsets.txt" || exit 1
write_train_list || exit $?
write_val_list || exit $?
say "wrote train_list.txt ($(wc -l <"$target/train_list.txt" | tr -d ' ') images) and val_list.txt" \
    "($(wc -l <"$target/val_list.txt" | tr -d ' ') images) in $target"

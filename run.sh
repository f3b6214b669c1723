#!/bin/sh
# Sets up what is needed and does the main job; `sh run.sh --help` explains it.
set -u

usage() {
    cat <<'END'
usage: sh run.sh                                  the main job, see below
       sh run.sh recipes/NAME.yaml [OPTION ...]   train that recipe; options go to train.py:
                                                  -o key.sub=value, --resume, --replace, --until NAME, --dry-run
       sh run.sh --help                           this text

Without arguments: if ckpt/ResNeXt101_32x4d_Release/, data/val/ and data/val_list.txt exist, the network of the 2018
release predicts the validation images (infer.py). Otherwise run.sh does the built-in example: it makes data/digits_web/,
trains recipes/digits_web.yaml on it, evaluates and predicts; a second call reuses what the first one made.

You only need Python 3.10 to 3.13 with venv; set_env.sh (its head lists what you can set) makes .venv and installs
the rest. Exit codes: 0 done, 1 something failed, 2 bad usage or bad input.
END
}

say() { printf 'run.sh: %s\n' "$*" >&2; }
leave() { # STATUS TEXT: one line, then out
    status=$1
    shift
    say "$*"
    exit "$status"
}

release_is_there() {
    missing=""
    for place in ckpt/ResNeXt101_32x4d_Release data/val data/val_list.txt; do
        [ -e "$place" ] || missing="$missing $place"
    done
    if [ -n "$missing" ] && [ -e ckpt/ResNeXt101_32x4d_Release ]; then
        say "the released checkpoint is here, but these are missing:$missing (sh data/download_webvision2018.sh fetches them)"
    fi
    [ -z "$missing" ]
}

infer_release() {
    python infer.py \
        --model ResNeXt101_32x4d \
        --pretrained_model ./ckpt/ResNeXt101_32x4d_Release/ \
        --class_dim 5000 \
        --img_path ./data/val/ \
        --img_list ./data/val_list.txt \
        --use_gpu True
}

digits() { # PROGRAM [OPTION ...]: eval.py or infer.py on the example's last checkpoint, with the documented flags
    program=$1
    shift
    python "$program" \
        --model ResNet8_small32 \
        --pretrained_model output/digits_web/label/final \
        --class_dim 10 \
        --image_shape 3,32,32 \
        --img_path data/digits_web/val_images_resized \
        --img_list data/digits_web/info/val_filelist.txt \
        --use_gpu False "$@"
}

run_example() {
    out=output/digits_web
    say "1/5 data set data/digits_web"
    python data/make_digits_web.py --out data/digits_web >&2 || leave $? "the data set could not be made"
    say "2/5 training recipes/digits_web.yaml, five stages (minutes on a CPU; logs: $out/STAGE/log.txt)"
    mkdir -p "$out" || leave 1 "$out cannot be made"
    python train.py -c recipes/digits_web.yaml --resume >"$out/train.txt" || leave $? "training failed"
    say "3/5 evaluation"
    digits eval.py >"$out/eval.txt" || leave $? "evaluation failed"
    say "4/5 predictions"
    digits infer.py --output "$out/predictions.csv" >"$out/infer.txt" || leave $? "prediction failed"
    say "5/5 report"
    python tools/report.py --run "$out" --out "$out/report.html" --suspects "$out/suspects.csv" >&2 ||
        leave $? "the report could not be made"
    grep '^stage .* last ' "$out/train.txt" || leave 1 "$out/train.txt holds no stage"
    grep '^top1:' "$out/eval.txt" || leave 1 "$out/eval.txt holds no evaluation line"
    grep '^Test-' "$out/infer.txt" >"$out/infer_lines.txt" || leave 1 "$out/infer.txt holds no predictions"
    head -n 5 "$out/infer_lines.txt"
    rm -f "$out/infer_lines.txt"
    printf '%-12s %s\n' \
        evaluation "$root/$out/eval.txt" \
        checkpoint "$root/$out/label/final" \
        predictions "$root/$out/predictions.csv" \
        curves "$root/$out/curves  (visualdl --logdir $out/curves --language en)" \
        suspects "$root/$out/suspects.csv  (labels that look wrong, and better ones)" \
        report "$root/$out/report.html"
}

recipe=""
case ${1-} in
"") ;;
-h | --help)
    usage
    exit 0
    ;;
*.yaml | *.yml)
    recipe=$1
    shift
    ;;
*) leave 2 "found '$1'; a recipe (*.yaml) or --help is accepted" ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
if [ -n "$recipe" ]; then # from where the caller stands, or from the repository
    if [ -f "$recipe" ]; then
        recipe=$(CDPATH='' cd -- "$(dirname -- "$recipe")" && pwd -P)/$(basename -- "$recipe")
    elif [ ! -f "$root/$recipe" ]; then
        leave 2 "$recipe: no such recipe, neither here nor in $root"
    fi
fi
cd -- "$root" || exit 1
URNET_ROOT=$root
# shellcheck source=set_env.sh
. "$root/set_env.sh" || exit 1

if [ -n "$recipe" ]; then
    python train.py -c "$recipe" "$@"
elif release_is_there; then
    infer_release
else
    run_example
fi

"""The flags that infer.py and eval.py share, their checks, and where each value comes from.

Precedence: flags > the checkpoint's recipe > the 2018 release's defaults (with --num_layers: the SE-ResNeXt
example's, ``urnet.config.se_resnext_flags``).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from urnet.config.choices import CROPS, ENGINES, LARGEST_SCALE, PRECISIONS, RESIZES, SIZES
from urnet.config.recipe import Recipe, Transform
from urnet.core.checks import InputError, check_choice
from urnet.core.cli import Parser, boolean_word

RELEASE_DEFAULTS = {
    "model": "ResNeXt101_32x4d",
    "class_dim": 5000,
    "image_shape": "3,224,224",
    "resize": "straight",
    "resize_short_size": 256,
}


_MEANT = {  # a flag, and how others call it
    "--model NAME": "model_name arch architecture network backbone net",
    "--pretrained_model PATH": "weights weight checkpoint ckpt pretrained params model_path model_dir resume load "
    "load_from init params_file model_file",
    "--img_path PATH": "image images img input inputs source src file files path image_path infer_img image_dir "
    "img_dir image_file data data_dir data_path folder dir root test_dir val_dir",
    "--img_list FILE": "list image_list file_list val_list txt",
    "--class_dim N": "num_classes n_classes classes class_num nc",
    "--image_shape 3,S,S": "size img_size image_size imgsz input_size crop_size resolution",
    "--batch_size N": "bs batch",
    "--use_gpu True|False": "gpu gpus device cuda cpu no_cuda gpu_id",
    "--workers N": "num_workers threads num_threads jobs",
    "--output FILE.csv": "out save csv output_file output_dir results save_path save_dir save_results json result_path",
    "--topk K": "top_k k top",
    "--class_names FILE": "names labels label_file class_file class_id_map_file label_map label_list",
    "--crops 10 --flip": "tta augment multi_crop",
    "--precision bf16": "fp16 half amp use_fp16 dtype",
    "--max_bad N": "skip_bad ignore_errors skip_errors",
    "--per_class FILE.csv": "per_class_accuracy report class_report",
}
_OF_OTHERS = {word: flag for flag, words in _MEANT.items() for word in words.split()}
_RELEASED = "use_gpu class_dim image_shape pretrained_model model resize_short_size img_list img_path"
RELEASE_FLAGS = tuple(f"--{name}" for name in _RELEASED.split())


class ReleaseParser(Parser):
    """A Parser in which a prefix that meant one flag of an earlier version still means it.

    `--pre` was `--pretrained_model` before there was `--precision`: where a prefix fits exactly one of the
    ``earlier`` flags, it is that one; all others are argparse's matter.
    """

    earlier: Sequence[str] = RELEASE_FLAGS

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        args = list(sys.argv[1:] if args is None else args)
        known = {f"--{name}" for name in vars(super().parse_args([]))}
        end = args.index("--") if "--" in args else len(args)
        args[:end] = [self._whole_flag(arg, known) for arg in args[:end]]
        return super().parse_args(args, namespace)

    def _explained(self, argument: str) -> str:
        """What an argument that is not a flag of ours was meant to be."""
        if not argument.startswith("-"):
            return f"give one image or a folder with --img_path, or a list of images with --img_list: {argument}"
        word = argument.strip("-").partition("=")[0].casefold().replace("-", "_")
        if word in ("mean", "std", "image_mean", "image_std", "img_mean", "img_std"):
            return "the mean and standard deviation come from the checkpoint's recipe (transform.mean, transform.std)"
        flag = _OF_OTHERS.get(word, "")
        return f"here it is called {flag}" if flag.partition(" ")[0] in self._option_string_actions else ""

    def _whole_flag(self, arg: str, known: set[str]) -> str:
        prefix, equals, value = arg.partition("=")
        if not prefix.startswith("--") or prefix in known:
            return arg
        meant = [flag for flag in self.earlier if flag.startswith(prefix)]
        return meant[0] + equals + value if len(meant) == 1 else arg


def make_parser(prog: str, description: str, *, batch_size: int, earlier: Sequence[str] = ()) -> ReleaseParser:
    """A parser with the flags of both commands; ``earlier`` are flags of the command's own, see ReleaseParser."""
    parser = ReleaseParser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.explain = parser._explained
    add = parser.add_argument_group("the 2018 release's flags").add_argument
    add("--use_gpu", type=boolean_word, default=True, help="True: use a GPU if there is one [True]")
    add("--class_dim", type=int, help="number of classes [from the checkpoint's recipe, or 5000]")
    add("--image_shape", help="channels,height,width [from the checkpoint's recipe, or 3,224,224]")
    add(
        "--pretrained_model",
        metavar="PATH",
        help="checkpoint folder, weights file, the 2018 release's folder, or imagenet[:NETWORK] for published weights",
    )
    add("--model", metavar="NAME", help="network [from the checkpoint's recipe, or ResNeXt101_32x4d]")
    add("--resize_short_size", type=int, metavar="PIXELS", help="length of the short side for --resize short [256]")
    add(
        "--img_list",
        metavar="FILE",
        help="list of `path label` lines, or CSV (docs/data.md); paths are relative to --img_path or inside it"
        " [infer.py: all images there; eval.py: each sub-folder is a class, by its name]",
    )
    add("--img_path", metavar="PATH", help="folder of the images")
    parser.earlier = (*RELEASE_FLAGS, *earlier)
    add = parser.add_argument_group("further flags").add_argument
    add("--batch_size", type=int, default=batch_size, help=f"images computed at once [{batch_size}]")
    add(
        "--resize",
        help="straight: resize, ignoring the aspect | short: resize the short side, crop the centre [straight]",
    )
    add(
        "--crops",
        type=int,
        default=1,
        metavar="1|5|10|144",
        help="views per image, whose probabilities are averaged: the centre | corners and centre | these and their "
        "mirror images | Inception's 144; more than 1 implies --resize short [1]",
    )
    add("--scales", metavar="PIXELS,...", help="take the crops at each of these short sides, such as 224,256,288")
    add("--flip", action="store_true", help="also use the mirror image of every view")
    add("--class_names", metavar="FILE", help="class names: synsets.txt, or one per line [the checkpoint's]")
    add("--precision", default="fp32", help="fp32 | bf16, faster on CPUs with AMX and on GPUs | fp16, GPUs only [fp32]")
    add(
        "--engine", default="auto", help="auto | inference | dygraph; auto: inference on a CPU, dygraph on a GPU [auto]"
    )
    add(
        "--workers",
        type=int,
        help="processes that decode; 0: a thread [0 on the CPU; with a GPU one per core, up to 16]",
    )
    add("--max_bad", type=int, default=0, help="leave out up to this many unreadable images [0]")
    add("--debug", action="store_true", help="show a traceback on errors")
    return parser


def check_numbers(args: argparse.Namespace) -> None:
    """Flags whose range does not depend on anything else."""
    for name, low in (("batch_size", 1), ("max_bad", 0), ("workers", 0), ("class_dim", 1)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise InputError(f"--{name}: found {value}; {low} or more is accepted")
    check_choice("--engine", args.engine, ENGINES)
    check_choice("--precision", args.precision, PRECISIONS)
    if args.crops not in CROPS:
        raise InputError(f"--crops: found {args.crops}; accepted: {', '.join(map(str, CROPS))}")


def complete(
    args: argparse.Namespace,
    recipe: Recipe | None,
    names: Sequence[str],
    defaults: Mapping[str, Any] = RELEASE_DEFAULTS,
    *,
    told_by: str = "its recipe.yaml",
) -> Transform:
    """Fill the flags that were not given; return the transform they make together. ``told_by``: the recipe's source."""
    transform = recipe.transform if recipe else Transform()
    known = dict(defaults)
    if recipe:
        size = transform.size
        known.update(
            model=recipe.model.name,
            class_dim=recipe.data.n_classes,
            resize=transform.eval,
            image_shape=f"3,{size},{size}",
            resize_short_size=transform.resize_short,
        )
        for name in ("model", "class_dim"):
            given = getattr(args, name)
            if given is not None and given != known[name]:
                layers = getattr(args, "num_layers", None) if name == "model" else None
                flag = f"--{name}" if layers is None else f"--num_layers {layers}"
                raise InputError(
                    f"{flag} is {given}, but {args.pretrained_model} was trained with {known[name]} ({told_by})"
                )
    if args.resize is not None and args.resize.isdecimal():  # the 2018 release's prefix form of --resize_short_size
        args.resize, args.resize_short_size = None, int(args.resize)
    cut = args.crops > 1 or args.scales is not None
    if cut:
        _complete_scales(args, recipe, parse_image_shape(args.image_shape or known["image_shape"]))
    for name, value in known.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_choice("--model", args.model, names)
    check_choice("--resize", args.resize, RESIZES)
    size = parse_image_shape(args.image_shape)
    if args.resize == "short" and not cut and args.resize_short_size < size:
        raise InputError(f"--resize_short_size: found {args.resize_short_size}; {size} or more is accepted")
    return dataclasses.replace(transform, size=size, eval=args.resize, resize_short=args.resize_short_size)


def _complete_scales(args: argparse.Namespace, recipe: Recipe | None, size: int) -> None:
    """Fill ``--scales``, ``--resize`` and ``--resize_short_size`` for views that are cut at a short side."""
    flags = f"--crops {args.crops}" if args.scales is None else "--scales"
    if args.resize == "straight":
        raise InputError(f"--resize straight: {flags} needs the image resized by its short side; accepted: short")
    if args.scales is not None and args.resize_short_size is not None:
        raise InputError("--scales and --resize_short_size: both set the short side; give one of them")
    short = args.resize_short_size
    if short is None and recipe is not None and recipe.transform.eval == "short":
        short = recipe.transform.resize_short
    if args.scales is not None:
        scales = parse_scales(args.scales)
    elif args.crops == 144:
        if args.resize_short_size is not None:
            raise InputError("--resize_short_size: --crops 144 needs four short sides; give them with --scales")
        scales = tuple(round(size * sevenths / 7) for sevenths in (8, 9, 10, 11))
    else:
        scales = (short or round(size * 8 / 7),)
    if args.crops == 144 and len(scales) != 4:
        raise InputError(f"--scales: found {args.scales}; --crops 144 needs four")
    if min(scales) < size:
        flag = "--scales" if args.scales is not None else "--resize_short_size"
        raise InputError(f"{flag}: found {min(scales)}; {size} (--image_shape) or more is accepted")
    args.resize, args.resize_short_size, args.scales = "short", scales[0], ",".join(map(str, scales))


def parse_scales(text: str) -> tuple[int, ...]:
    """The short sides of "224,256". Raises InputError for anything else, and for one that comes twice."""
    words = [word.strip() for word in text.split(",")]
    scales = tuple(int(word) for word in words if word.isdecimal())
    if len(scales) < len(words) or len(set(scales)) < len(scales) or max(scales) > LARGEST_SCALE:
        accepted = f"different short sides in pixels, up to {LARGEST_SCALE}, such as 224,256,288"
        raise InputError(f"--scales: found {text!r}; accepted: {accepted}")
    return scales


def parse_image_shape(text: str) -> int:
    """The side S of "3,S,S". Raises InputError for anything else, and for sides outside SIZES."""
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) for word in words if word.isdecimal()]
    if len(words) == len(numbers) == 3 and numbers[0] == 3 and numbers[1] == numbers[2] in SIZES:
        return numbers[1]
    accepted = f"3,S,S (3 channels, square), S from {SIZES[0]} to {SIZES[-1]}"
    accepted += "; a picture goes to --img_path" if Path(text).is_file() else ""
    raise InputError(f"--image_shape: found {text!r}; accepted: {accepted}")

"""The command lines of Paddle's SE-ResNeXt example, translated to this project's flags.

`--num_layers` means a network, and in train.py a recipe; the example's other flags go with it. Here
they become what every other command has: a recipe and its overrides, or the flags of the 2018 release.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from urnet.core.checks import InputError
from urnet.core.cli import boolean_word

RECIPE = "recipes/imagenet/se_resnext50_32x4d.yaml"
LAYERS = (50, 101, 152)
PREDICTION_DEFAULTS = {"class_dim": 1000, "resize": "short", "resize_short_size": 256}
TODAY = {  # flag of the example's train.py -> the same with -c
    "batch_size": "-o stages.NAME.batch_size=N",
    "with_mem_opt": "-o model.recompute=true",
    "parallel_exe": "python -m paddle.distributed.launch",
    "pretrained_model": "--init PATH (--init imagenet: published weights), or -o stages.NAME.start=PATH",
}


def network_name(num_layers: int) -> str:
    """The network that ``--num_layers`` stands for."""
    return f"SE_ResNeXt{num_layers}_32x4d"


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the example's train.py."""
    add = parser.add_argument_group(
        "the SE-ResNeXt example's flags",
        f"--num_layers instead of -c uses the recipe {RECIPE}.\nPrecedence: -o, then these flags, then the recipe.",
    ).add_argument
    add(
        "--num_layers",
        type=int,
        choices=LAYERS,
        metavar="N",
        help="50 | 101 | 152: train SE_ResNeXtN_32x4d; the run is called se_resnextN",
    )
    add(
        "--batch_size",
        type=int,
        metavar="N",
        help=f"images per step [the recipe's]; current form: {TODAY['batch_size']}",
    )
    add(
        "--with_mem_opt",
        type=boolean_word,
        metavar="True|False",
        help=f"True: keep fewer activations and recompute them [the recipe's]; current form: {TODAY['with_mem_opt']}",
    )
    add(
        "--parallel_exe",
        type=boolean_word,
        metavar="True|False",
        help=f"True: only prints a note [False]; current form: {TODAY['parallel_exe']}",
    )
    add(
        "--pretrained_model",
        metavar="PATH",
        nargs="?",
        const="",  # others have a flag --pretrained without a value
        help=f"weights to start from, with as many classes as the recipe; current form: {TODAY['pretrained_model']}",
    )


def translate_training(args: argparse.Namespace, repository: Path) -> None:
    """Turn the example's flags into ``args.config`` and leading ``args.override``, in place.

    Precedence: -o > the example's flags > the recipe; the last override of a key counts, so theirs come
    first. Raises InputError where not exactly one of -c and --num_layers was given, or where another flag of
    the example was given without --num_layers.
    """
    if args.num_layers is None:
        _refuse_alone(args)
        return
    if args.config is not None:
        raise InputError("-c and --num_layers: found both; give one of them")
    from urnet.config.recipe import load_recipe

    source = repository / RECIPE
    stages = [stage.name for stage in load_recipe(source).stages]
    args.config, args.override = str(source), [*training_overrides(args, stages), *args.override]
    if args.parallel_exe:
        print(
            "note: --parallel_exe True: one process trains, unless python -m paddle.distributed.launch starts several",
            file=sys.stderr,
        )


def _refuse_alone(args: argparse.Namespace) -> None:
    for name, words in TODAY.items():
        if getattr(args, name) is not None:
            raise InputError(f"--{name}: needs --num_layers; with -c use {words}")
    if args.config is None:
        raise InputError("the following arguments are required: -c/--config, or --num_layers (see --help)")


def training_overrides(args: argparse.Namespace, stages: Sequence[str]) -> list[str]:
    """The ``key=value`` overrides that the example's flags stand for; ``stages`` are the recipe's names."""
    keys: dict[str, object] = {"name": f"se_resnext{args.num_layers}", "model.name": network_name(args.num_layers)}
    if args.batch_size is not None:
        if args.batch_size < 1:
            raise InputError(f"--batch_size: found {args.batch_size}; 1 or more is accepted")
        keys.update({f"stages.{name}.batch_size": args.batch_size for name in stages})
    if args.with_mem_opt is not None:
        keys["model.recompute"] = args.with_mem_opt
    if args.pretrained_model is not None:
        if not args.pretrained_model:
            raise InputError("--pretrained_model: found no path; the path of a checkpoint is accepted")
        # A folder of this name, not the recipe's word.
        here = "./" if args.pretrained_model in ("previous", "scratch") else ""
        keys[f"stages.{stages[0]}.start"] = here + args.pretrained_model
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]


def add_prediction_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the example's infer.py that are not the 2018 release's as well."""
    add = parser.add_argument_group(
        "the SE-ResNeXt example's flags",
        "--num_layers names the network; --model PATH then names the checkpoint, and --img_path defaults to\n"
        "the list's folder. Without a recipe in the checkpoint: --class_dim 1000, --resize short.",
    ).add_argument
    add("--num_layers", type=int, choices=LAYERS, metavar="N", help="50 | 101 | 152: SE_ResNeXtN_32x4d")
    add("--test_list", metavar="FILE", help="with --num_layers: the list of images; current form: --img_list")


def translate_prediction(args: argparse.Namespace) -> dict:
    """Turn the example's flags into the 2018 release's, in place; return the defaults that differ.

    A checkpoint's recipe still goes before these defaults, flags before both. Raises InputError for flags
    that contradict each other.
    """
    if args.num_layers is None:
        if args.test_list is not None:
            raise InputError("--test_list: needs --num_layers; without it use --img_list")
        return {}
    if args.model is not None and args.pretrained_model is not None:
        raise InputError(
            "--model and --pretrained_model: found both; with --num_layers either is the checkpoint; give one of them"
        )
    if args.test_list is not None and args.img_list is not None:
        raise InputError("--test_list and --img_list: found both; they mean the same; give one of them")
    args.pretrained_model = args.model or args.pretrained_model
    if not args.pretrained_model:
        raise InputError(
            "--model: found none; with --num_layers it must name the checkpoint, a folder or a weights file"
        )
    args.model = network_name(args.num_layers)
    args.img_list = args.test_list if args.img_list is None else args.img_list
    if args.img_path is None and args.img_list is not None:
        args.img_path = str(Path(args.img_list).parent)
    return PREDICTION_DEFAULTS

"""Train a recipe: ``python train.py -c recipes/NAME.yaml``. See --help and docs/recipes.md."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import models
from urnet.config import se_resnext_flags
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

EPILOG = """\
A recipe is one experiment; docs/recipes.md explains its keys. Results go to OUTPUT/NAME/STAGE/ (keys output
and name): best/ and final/ are checkpoints for eval.py and infer.py, log.txt records how the training went, and
`visualdl --logdir OUTPUT/NAME/curves --language en` shows the curves.

examples:
  python train.py -c recipes/digits_web.yaml
  python train.py -c recipes/digits_web.yaml -o seed=1 -o name=digits_seed1
  python train.py -c recipes/digits_web.yaml -o stages.class.duration="5 epochs" -o data.workers=2
  python train.py -c recipes/digits_web.yaml -o 'stages.*.batch_size=32' -o 'stages.*.schedule.lr=0.02'
  python train.py -c recipes/digits_web.yaml --resume
  python train.py -c recipes/folder.yaml -o data.root=photos/train -o data.val_root=photos/val --tiny
  python train.py -c recipes/digits_web.yaml --until instance --dry-run
  python train.py -c recipes/folder.yaml -o data.root=photos/train -o data.val_root=photos/val
  python train.py -c recipes/folder_scratch.yaml --init ckpt/ResNet50.pdparams --finetune
  python train.py --num_layers=50 --batch_size=8 --with_mem_opt=True --parallel_exe=False

An interrupted run, whatever the reason, continues with --resume and ends with the weights it would have had.
SIGTERM and Ctrl-C save a checkpoint first. A finished stage is not trained again unless something it depends
on has changed: a line then says what, and the earlier result is moved to OUTPUT/NAME/replaced.

Recipes: recipes/digits_web.yaml (the example), recipes/folder.yaml and
folder_scratch.yaml (your own images, from ImageNet weights or from random ones), recipes/webvision2018
and webvision2017 (URNet and the baselines CurriculumNet, gated back-propagation and PCI: docs/baselines.md),
recipes/imagenet (SE-ResNeXt), recipes/rivals32 (the baselines on 32-pixel images). Networks (model.name):
{networks}

exit codes: 0 done, 1 failed while running, 2 bad usage or bad input, 130 Ctrl-C, 143 SIGTERM
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.Parser(
        prog="train.py",
        description="Train the stages of a recipe.",
        epilog=EPILOG.format(networks=models.listed()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-c", "--config", metavar="RECIPE", help="the recipe, a YAML file (or --num_layers)")
    add(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key of the recipe; for one stage use its name, stages.NAME.batch_size=64, for all of them "
        "'stages.*.batch_size=64'; if several match, the last one counts",
    )
    add(
        "--init",
        metavar="FILE",
        help="weights that the first stage starts from: `imagenet` for the published weights of the recipe's network, "
        "or a checkpoint folder, .safetensors, .pdparams, .pth or the 2018 release's folder; the same as "
        "-o stages.FIRST.start=FILE",
    )
    add(
        "--finetune",
        action="store_true",
        help="FILE's classifier may be missing or have another number of classes: a new one is trained, everything "
        "else must fit; the same as -o stages.FIRST.finetune=true",
    )
    add(
        "--tiny",
        action="store_true",
        help="a trial run of about a minute: every stage for a few steps on a few small images, in OUTPUT/NAME-tiny; "
        "-o takes precedence over what it sets",
    )
    add("--dry-run", action="store_true", help="say what would be done with each stage and why, without doing it")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--stage", metavar="NAME", help="run only this stage; the one it starts from must be finished")
    part.add_argument("--until", metavar="NAME", help="run the stages up to this one")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="continue an unfinished run, or start if there is none")
    group.add_argument(
        "--replace", action="store_true", help="remove what earlier runs of these stages left and train them again"
    )
    add("--debug", action="store_true", help="show a traceback on errors")
    se_resnext_flags.add_training_flags(parser)
    parser.explain = explained
    return parser.parse_args(argv)


def explained(argument: str) -> str:
    """What an argument that is not a flag of ours was meant to be."""
    from urnet.config.recipe import Recipe
    from urnet.config.suggest import key_for_flag, key_paths

    if not argument.startswith("-"):
        if argument.endswith((".yaml", ".yml")):
            return f"give a recipe with -c {argument}"
        return f"each KEY=VALUE needs its own -o: -o {argument}" if "=" in argument else ""
    word, _, value = argument.lstrip("-").partition("=")
    key, _, form = key_for_flag(word, key_paths(Recipe)).partition("=")
    if key.endswith(".start"):
        return "give weights to start from with --init FILE, or --init imagenet for published ImageNet weights"
    return f"the recipe has a key for this: -o '{key}={form or value or 'VALUE'}'" if key else ""


def main(argv: Sequence[str]) -> int:
    """Train, then print two lines per stage and where things lie."""
    args = parse(argv)
    if args.init is not None and args.pretrained_model is not None:
        raise InputError("--init and --pretrained_model: found both; they mean the same; give one of them")
    se_resnext_flags.translate_training(args, Path(__file__).resolve().parent)
    args.override = [*start_overrides(args), *args.override]
    if args.tiny:
        args.override = cut_down(args)
    with cli.results_only() as stream:
        return train(args, stream)


def start_overrides(args: argparse.Namespace) -> list[str]:
    """``--init`` and ``--finetune`` as keys of the first stage that is switched on; -o goes before them."""
    from urnet.config.recipe import active_stages
    from urnet.pipeline.recipes import read_recipe

    if args.init == "":
        raise InputError("--init: found no path; the path of a checkpoint is accepted")
    keys: dict[str, object] = {}
    if args.init is not None:
        here = "./" if args.init in ("previous", "scratch") else ""  # a folder, not the recipe's word
        keys["start"] = here + args.init
    if args.finetune:
        keys["finetune"] = True
    stages = active_stages(read_recipe(args.config, args.override)) if keys else ()
    return [f"stages.{stages[0].name}.{key}={json.dumps(value)}" for key, value in keys.items() if stages]


def cut_down(args: argparse.Namespace) -> list[str]:
    """``--tiny``: the overrides that make a first try of the recipe, those of -o after them; said on stderr."""
    from urnet.config.tiny import own_place, tiny_overrides
    from urnet.pipeline.recipes import read_recipe

    recipe = read_recipe(args.config, args.override)
    processes = os.environ.get("PADDLE_TRAINERS_NUM", "1")
    tiny = tiny_overrides(
        recipe,
        least_size=models.LEAST_SIZES.get(recipe.model.name, 1),
        n_processes=int(processes) if processes.isdecimal() else 1,
    )
    apart = own_place(recipe)
    if cli.is_main():
        print(
            f"note: --tiny is a trial run whose figures mean nothing; it sets {' '.join(tiny + apart)}", file=sys.stderr
        )
    return [*tiny, *args.override, *apart]


def train(args: argparse.Namespace, stream: TextIO) -> int:
    """Read the recipe, train its stages, report on ``stream``; returns the exit code."""
    from urnet.pipeline.recipes import load_recipe
    from urnet.runtime.threads import import_paddle

    recipe = load_recipe(args.config, args.override, replace=args.replace)
    check_choice(f"{args.config}: model.name", recipe.model.name, models.NAMES)
    models.check_size(recipe.model.name, recipe.transform.size, f"{args.config}: transform.size")
    warnings.filterwarnings("ignore", message="When training, we now always track")
    import_paddle()
    from urnet.core.signals import Interrupted
    from urnet.pipeline.run import plan_recipe, run_recipe
    from urnet.runtime.precision import choose_device
    from urnet.runtime.process_group import launched, open_process_group

    def build_network() -> Any:
        model = recipe.model
        return models.build(model.name, recipe.data.n_classes, recompute=model.recompute, data_format=model.data_format)

    how = {"only": args.stage, "until": args.until, "resume": args.resume, "replace": args.replace}
    if args.dry_run and not cli.is_main():
        return cli.DONE
    if args.dry_run:
        for step in plan_recipe(recipe, build_network, n_processes=launched(), **how):
            print(f"stage {step.stage.name} {step.action}: {step.why}", file=stream)
        return cli.DONE
    try:
        with open_process_group(choose_device(recipe.device)) as group:
            results = run_recipe(recipe, build_network, group=group, **how)
    except Interrupted as stopped:
        return stopped.exit_code
    if group.is_main:
        report(results, Path(recipe.output) / recipe.name, stream)
        say_what_to_use(results, recipe)
    return cli.DONE


def report(results: Sequence[Any], home: Path, stream: TextIO) -> None:
    """Print the results."""
    for result in results:
        for kind, metrics in (("best", result.best), ("last", result.last)):
            top = f"top1:{metrics['top1']:.4f} top5:{metrics['top5']:.4f}"
            print(f"stage {result.stage} {kind} {top} step {metrics['step']}", file=stream)
    for result in results:
        print(f"checkpoint {result.folder / 'final'}", file=stream)
        print(f"log {result.folder / 'log.txt'}", file=stream)
    print(f"curves {home / 'curves'}", file=stream)


def say_what_to_use(results: Sequence[Any], recipe: Any) -> None:
    """Say on stderr which checkpoint is the one to use, and the commands that use it."""
    from urnet.checkpoints.locate import end_of_run
    from urnet.data.lists.validation import validation_places
    from urnet.inference.signature import EXPORTED

    final, (root, file) = results[-1].folder / "final", validation_places(recipe.data)
    images = ["--img_path", root or "FOLDER"]
    if file or (root is None and recipe.data.format != "folder"):
        images += ["--img_list", file or "FILE"]
    what = "the last weights of the last stage" if len(results) > 1 else "the last weights"
    print(f"use {final} ({what}; best/ was chosen on the validation images and flatters):", file=sys.stderr)
    for program, flags in (("infer.py", ["--img_path", "FOLDER"]), ("eval.py", images)):
        print(f"  {shlex.join(['python', program, '--pretrained_model', str(final), *flags])}", file=sys.stderr)
    home = final.parents[1]
    whole = [str(home)] if end_of_run(home) == final else [str(final), "--out", "FOLDER"]
    if (home / EXPORTED).exists() and len(whole) == 1:
        whole.append("--replace")
    print(f"  {shlex.join(['python', 'tools/export.py', *whole])}  # for tools/serve.py", file=sys.stderr)


if __name__ == "__main__":
    from urnet.runtime.refusals import told_once

    sys.exit(cli.run(told_once(main)))

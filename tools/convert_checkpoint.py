"""Convert weights from one form into another.

    python tools/convert_checkpoint.py ckpt/ResNeXt101_32x4d_Release released.safetensors
    python tools/convert_checkpoint.py output/demo/class demo.pdparams

IN is whatever ``infer.py --pretrained_model`` takes. The ending of OUT says its form: .safetensors, .pdparams
(for ``paddle.load``), or none for a folder like the 2018 release's. Precedence of network and classes: flags >
recipe beside IN > the 2018 release's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from models import NAMES, build
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

DEFAULT_MODEL, DEFAULT_CLASS_DIM = "ResNeXt101_32x4d", 5000


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(description="Convert weights: .safetensors, .pdparams, the 2018 release's folder.")
    p.add_argument(
        "source",
        metavar="IN",
        help="weights file, checkpoint folder, a folder or file of the 2018 release, or imagenet:NETWORK",
    )
    p.add_argument(
        "target", metavar="OUT", help="X.safetensors, X.pdparams, or X for a folder in the 2018 release's form"
    )
    p.add_argument("--model", metavar="NAME", help=f"network [from the recipe next to IN, or {DEFAULT_MODEL}]")
    p.add_argument(
        "--class_dim", type=int, help=f"number of classes [from the recipe next to IN, or {DEFAULT_CLASS_DIM}]"
    )
    p.add_argument("--replace", action="store_true", help="overwrite OUT if it exists")
    p.add_argument("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> None:
    """Read, check against the network, write, and print one line."""
    args = parser().parse_args(argv)
    if args.model is not None:
        check_choice("--model", args.model, NAMES)

    from urnet.checkpoints.checkpoint import describe, find_weights, load_into
    from urnet.checkpoints.convert import write_weights
    from urnet.checkpoints.imagenet import whole_word
    from urnet.checkpoints.second import second_file
    from urnet.runtime.threads import import_paddle

    args.source = whole_word(args.source, args.model)
    info = describe(args.source)
    recipe = info.recipe
    model, n_classes = args.model, args.class_dim
    if model is None:
        model = recipe.model.name if recipe else DEFAULT_MODEL
    if n_classes is None:
        n_classes = recipe.data.n_classes if recipe else DEFAULT_CLASS_DIM
    if second_file(args.source) is not None:
        raise InputError(
            f"{args.source}: holds two networks that predict together, and {args.target} can hold one; accepted: a "
            "checkpoint of one network, such as a copy of its model.safetensors, the first of them, in another folder"
        )
    import_paddle()
    network = build(model, n_classes)
    found = find_weights(args.source, network)
    load_into(network, found.weights, source=args.source)
    form = write_weights(args.target, network, replace=args.replace)
    origin = f"{info.kind} ({found})" if str(found) else info.kind
    count = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    print(f"{args.target}: {form}, {model} with {n_classes} classes, {count:,} parameters, from {origin}")


if __name__ == "__main__":
    sys.exit(cli.run(main))

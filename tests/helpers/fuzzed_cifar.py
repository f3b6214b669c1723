"""CIFAR's files and CIFAR-10N's labels for tests with damaged files: real ones, and what must hold of any."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.cifar_files import python_batch
from tests.helpers.torch_file import torch_file
from urnet.core.checks import InputError

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "data"))  # as Python does for a script
    import cifar10n_labels
    import cifar_files

CLEAN = np.arange(20) % 10


def label_seeds() -> list[bytes]:
    """NumPy's arrays and their dict in an array, as torch.save and numpy.save write them."""
    names = ("clean_label", "worse_label", "random_label1", "random_label2", "random_label3")
    people, stream = {name: np.roll(CLEAN, i) if i else CLEAN for i, name in enumerate(names)}, io.BytesIO()
    np.save(stream, np.array(people, dtype=object), allow_pickle=True)
    return [torch_file(people), stream.getvalue()]


def check_labels(data: bytes, place: Path) -> None:
    """Labels of the classes, one per picture and person; else an InputError of one line that names the file."""
    try:
        found = cifar10n_labels.read_people(place, CLEAN)
    except InputError as error:
        assert str(error).startswith(str(place)) and "\n" not in str(error)
        return
    assert (found.clean == CLEAN).all() and found.worst.shape == (20,) and found.each.shape == (20, 3)
    for labels in (found.worst, found.each):
        assert labels.dtype == np.int64 and ((labels >= 0) & (labels < 10)).all()


def batch_seeds() -> list[bytes]:
    """A file of Python 2, and one of Python 3."""
    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 32, 32, 3)
    newer = {"data": images.reshape(2, -1), "labels": [3, 4]}
    return [python_batch(images, np.array([3, 4])), pickle.dumps(newer, 4)]


def check_batch(data: bytes, place: Path) -> None:
    """Pictures and labels of one number, no larger than the file; else an InputError of one line that names it."""
    try:
        found = cifar_files.python_reader("labels")(str(place), data, 10)
    except InputError as error:
        assert str(error).startswith(str(place)) and "\n" not in str(error)
        return
    assert found.images.shape == (len(found), 32, 32, 3) and found.images.dtype == np.uint8
    assert found.images.nbytes <= len(data) and ((found.labels >= 0) & (found.labels < 10)).all()

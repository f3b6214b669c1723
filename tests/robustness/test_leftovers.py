"""What a killed process was writing is removed by the next one that writes the same file."""

import numpy as np
import pytest

from urnet.checkpoints.in_classes import FILE, write_reference
from urnet.data.kept.kept_features import ABOUT, KeptFeatures
from urnet.pipeline import kept_passes
from urnet.pipeline.kept_passes import KeptPasses
from urnet.reweight.class_centres import ClassCentres


def write_means(folder):
    write_reference(folder, ClassCentres(np.ones((2, 3), np.float32), 1.0, 1.0))
    return folder / FILE


def write_passes(folder):
    KeptPasses(folder, writes=True).begin("class", folder / "activations", 0)
    return folder / kept_passes.FILE


def write_features(folder):
    kept = KeptFeatures(folder / "kept", {"weights": "a"})
    kept.add(np.zeros(2, ABOUT), np.ones((2, 4), np.float16))
    kept.close()
    return folder / "kept"


@pytest.mark.parametrize("write", [write_means, write_passes, write_features])
def test_the_next_writer_removes_it(write, tmp_path):
    name = write(tmp_path).name
    (tmp_path / name).unlink()
    leftover = tmp_path / f".{name}.0a1b2c3d.tmp"
    leftover.write_bytes(b"half")
    other = tmp_path / f".another.{name}.0a1b2c3d.tmp"
    other.write_bytes(b"half")
    assert write(tmp_path).is_file()
    assert not leftover.exists() and other.exists()

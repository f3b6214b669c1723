"""tools/convert_checkpoint.py: from every form into every form, the same numbers; refusals write nothing."""

from pathlib import Path

import numpy as np
import paddle
import pytest

import models
from tests.helpers.tiny_network import Tiny, assert_same, weights_of
from tools import convert_checkpoint as tool
from urnet.checkpoints import checkpoint, convert
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, dump_recipe
from urnet.config.stage import Stage
from urnet.core import cli
from urnet.core.checks import InputError

SMALL = ["--model", "ResNeXt_small32", "--class_dim", "10"]
RECIPE = Recipe("demo", Data("x", 10), Model("ResNeXt_small32"), (Stage("class", Duration(1, "steps")),))


@pytest.fixture(scope="module")
def small():
    paddle.seed(0)
    return weights_of(models.build("ResNeXt_small32", 10))


def test_there_and_back_on_the_command_line(tmp_path, small, capsys):
    """Checkpoint folder -> .pdparams -> .safetensors; Paddle itself reads the middle one."""
    checkpoint.save(tmp_path / "class" / "best", weights=small, state={}, recipe_text=dump_recipe(RECIPE))
    capsys.readouterr()
    code = cli.run(tool.main, [str(tmp_path / "class"), str(tmp_path / "a.pdparams")])  # the recipe tells the network
    out, err = capsys.readouterr()
    n = sum(value.size for key, value in small.items() if not key.endswith(("_mean", "_variance")))
    said = f"pdparams, ResNeXt_small32 with 10 classes, {n:,} parameters, from checkpoint"
    assert (code, out, err) == (0, f"{tmp_path}/a.pdparams: {said}\n", "")
    loaded = paddle.load(str(tmp_path / "a.pdparams"))
    assert_same({key: np.asarray(value) for key, value in loaded.items()}, small)
    network = models.build("ResNeXt_small32", 10)
    missing, unexpected = network.set_state_dict(loaded)
    assert not missing and not unexpected
    tool.main([str(tmp_path / "a.pdparams"), str(tmp_path / "b.safetensors"), *SMALL])
    assert_same(checkpoint.read_weights(tmp_path / "b.safetensors"), small)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdparams", "b.safetensors", "class"]


def test_released_folder_and_back(tmp_path):
    network = Tiny()
    assert convert.write_weights(tmp_path / "released", network) == "fluid"
    assert {p.name for p in (tmp_path / "released").iterdir()} == set(network.release_names().values())
    second = Tiny()
    checkpoint.load_into(second, checkpoint.read_weights(tmp_path / "released", second))
    assert_same(weights_of(second), weights_of(network))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.safetensors", "b.safetensors"], "does not fit the network; parameters: 425 missing"),
        (["a.safetensors", "b.pdparams", "--model", "ResNeXt_small32"], "but class_dim is 5000"),
        (["a.safetensors", "a.safetensors", *SMALL], "exists already"),
        (["a.safetensors", "b.bin", *SMALL], "accepted endings"),
        (["a.safetensors", "b", *SMALL], "has no names"),
        (["none", "b.pdparams"], "does not exist"),
        (["a.safetensors", "b.pdparams", "--model", "ResNeXt"], "--model: 'ResNeXt' is not known"),
        (["a.safetensors", "b.pdparams", *SMALL[:3], "0"], "n_classes is 0"),
        (["a.safetensors"], "the following arguments are required: OUT"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(tmp_path, small, words, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(tmp_path / "x", weights=small, state={})
    (tmp_path / "x" / "model.safetensors").rename("a.safetensors")
    before = Path("a.safetensors").read_bytes()
    try:
        code = cli.run(tool.main, words)
    except SystemExit as left:
        code = left.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "x"]
    assert Path("a.safetensors").read_bytes() == before


def test_replace_and_read_back(tmp_path, monkeypatch):
    network = Tiny()
    for name in ("a.safetensors", "a.pdparams", "released"):
        convert.write_weights(tmp_path / name, network)
        with pytest.raises(InputError, match="exists already"):
            convert.write_weights(tmp_path / name, network)
        convert.write_weights(tmp_path / name, network, replace=True)
    before = (tmp_path / "a.safetensors").read_bytes()
    monkeypatch.setattr(convert.safetensors_io, "read_safetensors", lambda path: {})  # a disk that loses everything
    with pytest.raises(OSError, match=r"bn\.weight, read back from the disk, differs"):
        convert.write_weights(tmp_path / "a.safetensors", network, replace=True)
    assert (tmp_path / "a.safetensors").read_bytes() == before

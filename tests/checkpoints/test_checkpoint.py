"""Checkpoint folders and safetensors: the same arrays back, whole after a kill, one line for every fault."""

import json
import struct

import numpy as np
import paddle
import pytest

from tests.helpers.tiny_network import Tiny, assert_same, weights_of
from urnet.checkpoints import checkpoint
from urnet.checkpoints.fluid import variable_bytes
from urnet.checkpoints.safetensors_io import read_safetensors, write_safetensors
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, dump_recipe
from urnet.config.stage import Stage
from urnet.core.checks import InputError

RECIPE = Recipe("demo", Data("images", 3), Model("Tiny"), (Stage("class", Duration(2, "epochs")),))


def save(folder, network=None, **options):
    weights = weights_of(network or Tiny())
    options = {"state": {"step": 12}, "recipe_text": dump_recipe(RECIPE), "class_names": ["a", "", "ü b"], **options}
    checkpoint.save(folder, weights=weights, **options)
    return weights


def test_folder_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    turned = rng.normal(size=(3, 8)).astype("float32").T[::2]  # written in C order
    optimizer = {"fc.weight_velocity": turned, "beta": np.float32(0.5).reshape(())}
    extra = {"ema": {"fc.bias": np.ones(3, "float32")}, "sampler": {"rows": np.arange(5)}}
    state = {"step": 3, "best": np.float64(0.25), "rng": [2**100, "PCG64"], "none": None, "deep": {"a": [1.5]}}
    weights = save(tmp_path / "step-00000003", state=state, optimizer=optimizer, extra=extra)
    found = checkpoint.load_training(tmp_path / "step-00000003")
    assert found.state == {**state, "best": 0.25}
    assert_same(found.weights, weights)
    assert_same(found.optimizer, optimizer)
    assert set(found.extra) == {"ema", "sampler"}
    assert_same(found.extra["ema"], extra["ema"])
    assert_same(found.extra["sampler"], extra["sampler"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003"]


def test_describe_tells_recipe_classes_and_state(tmp_path):
    save(tmp_path / "class" / "final", state={"step": 1})
    save(tmp_path / "class" / "best", state={"step": 2})
    for path in (tmp_path / "class", tmp_path / "class" / "best"):  # a stage's folder means its best
        info = checkpoint.describe(path)
        assert (info.kind, info.folder, info.state) == ("checkpoint", tmp_path / "class" / "best", {"step": 2})
        assert info.recipe == RECIPE
        assert info.class_names == ["a", "", "ü b"]
    info = checkpoint.describe(tmp_path / "class" / "best" / "model.safetensors")
    assert (info.kind, info.recipe, info.class_names) == ("safetensors", RECIPE, ["a", "", "ü b"])
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((tmp_path / "class" / "best" / "model.safetensors").read_bytes())
    assert checkpoint.describe(alone) == checkpoint.CheckpointInfo("safetensors", None, None, None, None)
    (tmp_path / "class" / "best").rename(tmp_path / "elsewhere")
    assert checkpoint.describe(tmp_path / "class").state == {"step": 1}


def test_a_runs_folder_asks_for_a_stage(tmp_path):
    save(tmp_path / "demo" / "class" / "best")
    save(tmp_path / "demo" / "label" / "best")
    save(tmp_path / "demo" / "class" / "step-00000001")
    with pytest.raises(
        InputError, match=r"is the folder of a run; give one of its folders: class, label \(the newest is .*\)$"
    ):
        checkpoint.read_weights(tmp_path / "demo")
    (tmp_path / "demo" / "class" / "best").rename(tmp_path / "x")
    with pytest.raises(InputError, match="give one of its folders: step-00000001"):
        checkpoint.read_weights(tmp_path / "demo" / "class")


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    arrays = {f"key{i}": np.full((i + 1,), i, "float32") for i in range(40)}
    turned = dict(reversed(list(arrays.items())))
    for name, weights in (("a", arrays), ("b", turned)):
        checkpoint.save(tmp_path / name, weights=weights, state={"x": 1, "a": 2} if name == "a" else {"a": 2, "x": 1})
    for file in ("model.safetensors", "state.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match=r"no/model\.safetensors: cannot be written"):
        write_safetensors(tmp_path / "no" / "model.safetensors", {"a": np.zeros(3)})


def test_save_refuses_what_it_could_not_give_back(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path / "a", state={"loss": float("nan")})
    with pytest.raises(TypeError, match="state: ndarray cannot be kept"):
        save(tmp_path / "a", state={"loss": np.ones(2)})
    with pytest.raises(ValueError, match="'optimizer' is the name of another file"):
        save(tmp_path / "a", extra={"optimizer": {}})
    with pytest.raises(InputError, match=r"class name 'a.nb' has a line break"):
        save(tmp_path / "a", class_names=["a\nb"])
    with pytest.raises(TypeError, match="holds object"):
        checkpoint.save(tmp_path / "a", weights={"x": np.array([None])}, state={})
    assert list(tmp_path.iterdir()) == []
    save(tmp_path / "a")
    with pytest.raises(InputError, match="exists already"):
        save(tmp_path / "a", replace=False)


def test_a_killed_save_leaves_the_old_checkpoint(tmp_path):
    """Killed between the two renamings, or while it wrote: a reader finds the old one, and touches nothing."""
    checkpoint.save(tmp_path / "best", weights={"old": np.ones(3, "float32")}, state={"step": 1})
    (tmp_path / "best").rename(tmp_path / ".best.old")
    (tmp_path / ".best.abcdefgh.tmp").mkdir()
    before = sorted(tmp_path.iterdir())
    for path in (tmp_path, tmp_path / "best"):
        assert list(checkpoint.read_weights(path)) == ["old"]
        assert checkpoint.describe(path).state == {"step": 1}
    assert sorted(tmp_path.iterdir()) == before
    checkpoint.recover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    assert checkpoint.load_training(tmp_path / "best").state == {"step": 1}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", None, "model.safetensors is missing|without model.safetensors"),
        ("model.safetensors", b"", "is not a whole safetensors file"),
        ("model.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "is not a whole safetensors file"),
        ("state.json", b"{", "state.json: cannot be read"),
        ("state.json", b"[1]", "a JSON object is needed, found list"),
        ("state.json", b"\xff", "state.json: cannot be read"),
    ],
)
def test_broken_folders(tmp_path, file, content, message):
    save(tmp_path / "a")
    if content is None:
        (tmp_path / "a" / file).unlink()
    else:
        (tmp_path / "a" / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        checkpoint.load_training(tmp_path / "a")
    with pytest.raises(InputError, match=message):
        checkpoint.describe(tmp_path / "a")
        checkpoint.read_weights(tmp_path / "a")


def test_broken_classes_recipe_and_missing_state(tmp_path):
    save(tmp_path / "a")
    (tmp_path / "a" / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"classes.txt: cannot be read"):
        checkpoint.describe(tmp_path / "a")
    (tmp_path / "a" / "recipe.yaml").write_text("name: x\nnonsense: 1\n")
    with pytest.raises(InputError, match=r"recipe.yaml"):
        checkpoint.describe(tmp_path / "a")
    (tmp_path / "a" / "state.json").unlink()
    with pytest.raises(InputError, match=r"not a checkpoint to resume from; state.json is missing"):
        checkpoint.load_training(tmp_path / "a")


def test_safetensors_cut_anywhere(tmp_path):
    save(tmp_path / "a")
    whole = (tmp_path / "a" / "model.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for n in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:n])
        with pytest.raises(InputError, match=r"cut.safetensors: is not a whole safetensors file"):
            checkpoint.read_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        checkpoint.read_weights(path)


def raw_safetensors(path, **entries):
    """A file made by hand: name=(type, shape, bytes)."""
    header, data = {}, b""
    for name, (kind, shape, content) in entries.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_half_and_double_precision_become_float32(tmp_path):
    values = np.array([1.0, -2.5, 0.15625], "float32")  # exact in every type
    raw_safetensors(
        tmp_path / "x.safetensors",
        double=("F64", [3], values.astype("<f8").tobytes()),
        single=("F32", [3], values.tobytes()),
        half=("F16", [3], values.astype("<f2").tobytes()),
        brain=("BF16", [3], (values.view("<u4") >> 16).astype("<u2").tobytes()),
        count=("I64", [], np.int64(7).tobytes()),
    )
    found = checkpoint.read_weights(tmp_path / "x.safetensors")
    assert found.pop("count") == np.int64(7)
    assert_same(found, dict.fromkeys(("double", "single", "half", "brain"), values))
    raw_safetensors(tmp_path / "y.safetensors", x=("F8_E4M3", [1], b"\0"))
    with pytest.raises(InputError, match="is not a whole safetensors file of numbers"):
        checkpoint.read_weights(tmp_path / "y.safetensors")


def test_fluid_folder_and_combined_file(tmp_path):
    network = Tiny()
    weights, names = weights_of(network), network.release_names()
    folder = tmp_path / "released"
    folder.mkdir()
    for key, name in names.items():
        (folder / name).write_bytes(b"".join(variable_bytes(weights[key])))
    (tmp_path / "all").write_bytes(b"".join((folder / name).read_bytes() for name in sorted(names.values())))
    for path in (folder, tmp_path / "all"):
        assert_same(checkpoint.read_weights(path, network), weights)
        assert checkpoint.describe(path).kind == "fluid"
        with pytest.raises(
            InputError, match="checkpoint of the 2018 release, which exists only for ResNeXt50/101/152_32x4d"
        ):
            checkpoint.read_weights(path, paddle.nn.Linear(1, 1))
    with pytest.raises(InputError, match="does not exist; accepted: a checkpoint folder"):
        checkpoint.read_weights(tmp_path / "none", network)


def test_what_holds_no_weights_is_named_at_once(tmp_path):
    """An optimiser's file, an archive, a name without its ending: before anything heavy begins."""
    for name, data, said in (
        ("a", b"hi", "is not a file of weights; accepted: a checkpoint"),
        ("a.pdopt", b"\x80\x04\x95\x10", "is the state of a Paddle optimiser; the weights are in the .pdparams"),
        (
            "optimizer.safetensors",
            b"hi",
            "is the optimiser's state; the weights are in model.safetensors in the same folder",
        ),
        ("a.tar.gz", b"\x1f\x8b\x08\x00", "is a compressed archive; unpack it"),
        ("b.pdparams", b"\n <!DOCTYPE html>", "is an HTML page"),
        ("c.safetensors", b"version https://git-lfs.github.com", "is a Git LFS pointer"),
        ("d.onnx", b"\x08\x07", "is an exported model"),
        ("e.yaml", b"name: e", "is a recipe, for train.py -c"),
        ("f.h5", b"\x89HDF", "is a file of Keras, which cannot be read"),
        ("exported/model.json", b"{}", "is an exported model"),
        ("run/table/base.arrow", b"A", "is the folder of a run that has no weights yet"),
        ("stage/log.txt", b"begin", "is a stage's folder that has no weights yet"),
        ("other/x.pdparams", b"x", r"is a folder with the weights file x\.pdparams; give that: \S+x\.pdparams$"),
        ("pictures/a.jpg", b"x", "is a folder of pictures; pictures go to --img_path"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        given = name.partition("/")[0]
        with pytest.raises(InputError, match=rf"{given}: {said}"):
            checkpoint.describe(tmp_path / given)
    (tmp_path / "model.pdparams").write_bytes(b"")
    with pytest.raises(InputError, match=r"model: does not exist \(model\.pdparams is there\); accepted"):
        checkpoint.describe(tmp_path / "model")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_safetensors(tmp_path)


def test_a_folder_s_recipe_counts_without_its_state(tmp_path):
    """Someone copied weights and recipe only: the recipe's preprocessing must not be dropped in silence."""
    network = Tiny()
    recipe = dump_recipe(RECIPE)
    checkpoint.save(tmp_path / "c", weights=weights_of(network), state={}, recipe_text=recipe)
    (tmp_path / "c" / "state.json").unlink()
    info = checkpoint.describe(tmp_path / "c")
    assert (info.kind, info.folder, info.state) == ("checkpoint", tmp_path / "c", None)
    assert info.recipe is not None and dump_recipe(info.recipe) == recipe

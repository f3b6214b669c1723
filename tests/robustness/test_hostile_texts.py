"""Recipes, metadata and weights whose few bytes ask for much, or for what a reader does not expect."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import time

import numpy as np
import pytest

from urnet.checkpoints import checkpoint, fluid, pdparams
from urnet.config.recipe import load_recipe
from urnet.config.yaml_dataclass import shown
from urnet.core.checks import InputError
from urnet.data.lists.webvision_metadata import read_metadata

BASE = "data: {root: ., n_classes: 3}\nmodel: {name: a}\nstages: [{name: s, duration: 1 epochs}]\n"


def refused(read, words: str, *, seconds: float = 5.0, mib: float = 32) -> str:
    """The message of the one line that is raised, soon and without much memory."""
    start, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=words) as caught:
        read()
    assert time.perf_counter() - start < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < mib * 1024
    message = str(caught.value)
    assert "\n" not in message and len(message) < 2000
    return message


# --- recipes, which stand beside the weights of others as well


@pytest.mark.parametrize(
    "value",
    [
        "!!int abc",
        "!!int ''",
        "!!float x",
        "!!bool x",
        "!!timestamp x",
        "2001-99-99",
        "!!map [a]",
        "9" * 5000,
        "0x" + "f" * 5000,
        "[" * 3000,
        "!!python/object/apply:os.system [id]",
        "&a [*a]",
        "&a {b: *a}",
    ],
)
def test_a_value_that_the_yaml_library_stumbles_over_is_bad_input(tmp_path, value):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: x\n{BASE}seed: {value}\n")
    refused(lambda: load_recipe(path), "recipe.yaml: is not valid YAML: ", seconds=20)
    path.write_text(f"name: x\n{BASE}")
    if len(value) < 99:
        refused(lambda: load_recipe(path, [f"seed={value}"]), "is not valid YAML|seed: int is needed")


@pytest.mark.parametrize("key", ["name", "seed", "stages", "loss_weight", "duration", "zzz"])
def test_aliases_that_stand_for_billions_of_items_cost_nothing(tmp_path, key):
    """Ten aliases to ten aliases to …: 10^12 items in 600 bytes, all of which a message would show."""
    parts = ["&b0 [x, x, x, x, x, x, x, x, x, x]"]
    parts += [f"&b{i} [{', '.join([f'*b{i - 1}'] * 10)}]" for i in range(1, 12)]
    bomb = f"[{', '.join(parts)}]"
    whole = {"name": "x", "data": "{root: ., n_classes: 3}", "model": "{name: a}", "seed": "1"}
    stage = {"name": "s", "duration": "1 epochs"}
    (stage if key in ("loss_weight", "duration") else whole)[key] = bomb
    if key != "stages":
        inner = ", ".join(f"{name}: {value}" for name, value in stage.items())
        whole["stages"] = "[{" + inner + "}]"
    path = tmp_path / "recipe.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in whole.items()))
    refused(lambda: load_recipe(path), key)


def test_a_value_in_a_message_is_shortened():
    assert shown([1, "a", None]) == "[1, 'a', None]"
    assert len(shown(["x" * 1000] * 1000)) < 2000


def test_a_huge_recipe_and_twenty_thousand_keys_are_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(BASE + "# " + "x" * (256 << 10))
    refused(lambda: load_recipe(path), "has more than 256 KiB; is this a recipe?")
    path.write_text(BASE + "{" + ",".join(f"k{i}: 1" for i in range(9000)) + "}")
    refused(lambda: load_recipe(path), "recipe.yaml", seconds=30)
    path.write_text(BASE + "name: a\nname: b\n")
    refused(lambda: load_recipe(path), "key 'name' is there twice")
    path.write_text("? [a]\n: b\n")
    refused(lambda: load_recipe(path), "unhashable key")


@pytest.mark.parametrize("text", ['"a\\0b"', '"\\ud800"', '"\\udce9"'])
def test_text_that_no_file_can_be_called_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: x\n{BASE.replace('root: .', f'root: {text}')}")
    refused(lambda: load_recipe(path), "data.root: found .*; no zero byte and no half of a character")


# --- metadata


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"id": ' + "[" * 100_000, "{" * 9, '[{"a":' * 5000])
def test_brackets_a_thousand_deep_are_no_valid_metadata(tmp_path, text):
    (tmp_path / "q0001.json").write_text(text)
    refused(lambda: read_metadata(tmp_path / "q0001.json"), "q0001.json: is not valid JSON")


def test_a_title_is_text_whatever_it_says(tmp_path):
    """The report escapes it, see test_report.py."""
    title = "</script><script>alert(1)</script>\u0000\u202e"
    (tmp_path / "q0001.json").write_text(json.dumps([{"id": "../../x", "title": title}]))
    found = read_metadata(tmp_path / "q0001.json")
    assert found.texts.to_pylist() == [title] and found.ids.to_pylist() == ["../../x"]


# --- weights


class Calls:
    """An object whose pickle asks for ``function(*arguments)``, with a state."""

    def __init__(self, function, *arguments, state):
        self.parts = function, arguments, state

    def __reduce__(self):
        return self.parts


def array_of(shape, kind, data, *, turned=False):
    """A pickled array with these parts."""
    function, arguments, _ = np.ones(1).__reduce__()
    return Calls(function, *arguments, state=(1, shape, np.dtype(kind), turned, data))


def test_few_bytes_do_not_become_many_arrays(tmp_path):
    """One MiB that 300 arrays, each turned and so copied, or 300 names of one array, share."""
    data = bytes(1 << 20)
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({f"k{i}": array_of((1024, 1024), "u1", data, turned=True) for i in range(300)}, 4))
    refused(lambda: pdparams.read_arrays(path), "uses the same data over and over")
    shared = np.zeros(1 << 19, np.uint16)  # bfloat16: each name would get a float32 copy
    path.write_bytes(pickle.dumps({f"k{i}": shared for i in range(300)}, 4))
    refused(lambda: pdparams.read_arrays(path), r"has \d+ bytes, but its entries would take 314572800")
    tied = {f"k{i}": shared for i in range(4)}
    path.write_bytes(pickle.dumps(tied, 4))
    assert set(pdparams.read_arrays(path)) == set(tied)


def test_few_bytes_do_not_become_many_tuples(tmp_path):
    """A list of 100,000 numbers that 1,000 calls copy: 200 KB would take 800 MB."""
    numbers = b"](" + b"K\x01" * 100_000 + b"eq\x01"
    calls = (b"X" + struct.pack("<I", 5) + b"k%04d" % i + b"c__builtin__\ntuple\nh\x01\x85R" for i in range(1000))
    (tmp_path / "x.pdparams").write_bytes(b"\x80\x04}(X\x01\0\0\0a" + numbers + b"".join(calls) + b"u.")
    refused(lambda: pdparams.read_arrays(tmp_path / "x.pdparams"), "uses the same data over and over")


@pytest.mark.parametrize("shape", [(2**2000,) * 20_000, (1,) * 33, (2**63,), (2**62, 2**62)])
def test_a_shape_is_a_few_numbers_of_64_bits(tmp_path, shape):
    """The product of 20,000 numbers of 2,000 bits takes an hour."""
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"x": array_of(shape, "f4", b"1234")}, 4))
    refused(lambda: pdparams.read_arrays(path), "an array (that is not shape|of shape)")


@pytest.mark.parametrize("tree", [{5: np.ones(2)}, {"a": {2**61 - 1: 1}}, {None: np.ones(2)}])
def test_keys_are_text(tmp_path, tree):
    """Numbers can be chosen to make a dict slow, and no parameter is called so."""
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(tree, 4))
    refused(lambda: pdparams.read_arrays(tmp_path / "x.pdparams"), "one that is no text")


def test_slices_of_a_shape_that_no_array_has(tmp_path):
    for shape in ((2**70,), (-1, 3), ("a",), "ab"):
        tree = {"w@@.0": np.ones(4, "f4"), pdparams.BIG_ARRAYS: {"w": {"OriginShape": shape, "slices": ["w@@.0"]}}}
        (tmp_path / "x.pdparams").write_bytes(pickle.dumps(tree, 2))
        refused(lambda: pdparams.read_arrays(tmp_path / "x.pdparams"), "does not fit its slices")


def test_a_pipe_in_a_variables_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fc_weights")
    refused(lambda: fluid.read_folder(tmp_path, ["fc_weights"]), "is a pipe or a device; a file is needed")
    refused(lambda: fluid.may_be_variable(tmp_path / "fc_weights"), "is a pipe or a device")
    refused(lambda: checkpoint.read_weights(tmp_path / "fc_weights"), "does not exist|pipe")


def test_a_variable_that_becomes_shorter_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "w"
    path.write_bytes(b"".join(fluid.variable_bytes(np.ones(100_000, np.float32))))
    size = path.stat().st_size
    monkeypatch.setattr(fluid.os, "fstat", lambda handle: os.stat_result([0] * 6 + [size] + [0] * 3))
    os.truncate(path, size - 4)
    refused(lambda: fluid.read_variable(path), "became shorter while it was read: 400000 bytes expected, 399996")

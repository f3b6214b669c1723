"""Recipes and metadata whose few bytes ask for much, or for what a reader does not expect."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.helpers.hostile_files import refused
from urnet.data.lists.webvision_metadata import read_metadata
from urnet.pipeline.recipes import load_recipe

BASE = "data: {root: ., n_classes: 3}\nmodel: {name: a}\nstages: [{name: s, duration: 1 epochs}]\n"


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
    refused(lambda: load_recipe(path), "recipe.yaml: is not valid YAML: ")
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


def test_a_huge_recipe_and_twenty_thousand_keys_are_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(BASE + "# " + "x" * (256 << 10))
    refused(lambda: load_recipe(path), "has more than 256 KiB; is this a recipe?")
    path.write_text(BASE + "{" + ",".join(f"k{i}: 1" for i in range(9000)) + "}")
    refused(lambda: load_recipe(path), "recipe.yaml")
    path.write_text(BASE + "name: a\nname: b\n")
    refused(lambda: load_recipe(path), "key 'name' is given twice")
    path.write_text("? [a]\n: b\n")
    refused(lambda: load_recipe(path), "unhashable key")


@pytest.mark.parametrize("text", ['"a\\0b"', '"\\ud800"', '"\\udce9"'])
def test_text_that_no_file_can_be_called_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: x\n{BASE.replace('root: .', f'root: {text}')}")
    refused(lambda: load_recipe(path), "data.root: found .*; zero bytes and half characters")


def test_a_character_that_json_wrote_in_halves_is_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    tree = {**yaml.safe_load(BASE), "name": "é 😀"}
    path.write_text(json.dumps(tree))
    assert "ud83d" in path.read_text() and load_recipe(path, [f"data.root={json.dumps('😀')}"]).name == "é 😀"
    assert load_recipe(path, [f"data.root={json.dumps('😀')}"]).data.root == "😀"


# --- metadata


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"id": ' + "[" * 100_000, "{" * 9, '[{"a":' * 5000])
def test_brackets_a_thousand_deep_are_no_valid_metadata(tmp_path, text):
    (tmp_path / "q0001.json").write_text(text)
    refused(lambda: read_metadata(tmp_path / "q0001.json"), "q0001.json: is not valid JSON")

"""Recipes: every wrong key, type and value is named; overrides; round trip; hash; what ships is valid."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from tools import recipe_docs
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, Transform, dump_recipe, recipe_hash, recipe_tree
from urnet.config.stage import Ema, Optimizer, Schedule, Stage
from urnet.core.checks import InputError
from urnet.pipeline.methods import class_size
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]
SMALL = """
name: small
data: {root: images, n_classes: 10}
model: {name: ResNeXt_small32}
stages:
  - {name: class, duration: 2 epochs}
  - {name: more, duration: 500 steps, batch_size: 64}
"""


def write(tmp_path, text=SMALL):
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path, *overrides, text=SMALL):
    with pytest.raises(InputError) as error:
        load_recipe(write(tmp_path, text), overrides)
    message = str(error.value)
    assert "\n" not in message or "valid YAML" in message
    return message


def test_defaults_are_filled_in(tmp_path):
    recipe = load_recipe(write(tmp_path))
    assert recipe == Recipe(
        name="small",
        data=Data(root="images", n_classes=10),
        model=Model("ResNeXt_small32"),
        stages=(Stage("class", Duration(2, "epochs")), Stage("more", Duration(500, "steps"), batch_size=64)),
    )
    assert recipe.transform == Transform()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1


def test_every_nested_kind_is_read(tmp_path):
    text = """
name: all
seed: 7
device: cpu
output: elsewhere
data: {root: r, n_classes: 3, format: list, train_list: t.txt, val_list: v.txt, max_bad: 4}
transform: {size: 32, train: pad_crop, scale: [0.5, 1], mean: [0, 0.5, 1], jitter: 1e-1, eval: short}
model: {name: X, recompute: yes}
stages:
  - name: s
    duration: 1_000 images
    start: scratch
    reweight: {method: class_size, power: 1, cap: .inf, beta: 0.999}
    loss_weight: [class_weight]
    optimizer: {name: adamw, weight_decay: 1e-2, clip_norm: 5}
    schedule: {lr: 1e-3, name: piecewise, milestones: [1 epoch, 30 steps], warmup: 5 steps}
    ema: {decay: 0.9}
    amp: off
"""
    recipe = load_recipe(write(tmp_path, text))
    stage = recipe.stages[0]
    assert recipe.transform.scale == (0.5, 1.0)
    assert recipe.transform.mean == (0.0, 0.5, 1.0)
    assert recipe.transform.jitter == 0.1
    assert recipe.model.recompute is True
    assert stage.reweight == class_size.Settings(power=1.0, cap=float("inf"), beta=0.999)
    assert stage.optimizer == Optimizer(name="adamw", weight_decay=0.01, clip_norm=5.0)
    assert stage.schedule == Schedule(
        lr=0.001,
        name="piecewise",
        milestones=(Duration(1, "epochs"), Duration(30, "steps")),
        warmup=Duration(5, "steps"),
    )
    assert stage.ema == Ema(decay=0.9)
    assert stage.amp == "off"  # YAML 1.1 reads a bare `off` as false
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert dump_recipe(load_recipe(write(tmp_path, dump_recipe(recipe)))) == dump_recipe(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense: 1", r"r.yaml: unknown key nonsense; nearest: "),
        ("seeed: 1", r"unknown key seeed; nearest: seed"),
        ("transform: {sizes: 3}", r"unknown key transform.sizes; nearest: size"),
        ("transform: 3", r"transform: a mapping of keys is needed, found 3"),
        ("transform: {size: big}", r"transform.size: int is needed, found 'big'"),
        ("transform: {size: true}", r"transform.size: int is needed, found True"),
        ("transform: {flip: 1}", r"transform.flip: bool is needed, found 1"),
        ("transform: {jitter: x}", r"transform.jitter: float is needed, found 'x'"),
        ("transform: {jitter: .nan}", r"transform.jitter: a number is needed, found nan"),
        ("transform: {mean: [1, 2]}", r"transform.mean: a list of 3 is needed, found \[1, 2\]"),
        ("transform: {mean: [0, 0, x]}", r"transform.mean.2: float is needed, found 'x'"),
        ("transform: {train: crop}", r"transform.train: found 'crop'; accepted: random_resized_crop, pad_crop"),
        ("device: tpu", r"device: found 'tpu'; accepted: auto, cpu, gpu"),
        ("output: 5", r"output: str is needed, found 5"),
        ("1: 2", r"unknown key 1; nearest: "),
    ],
)
def test_wrong_keys_and_types(tmp_path, text, message):
    assert re.search(message, refused(tmp_path, text=SMALL + text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.yaml: a mapping of keys is needed, found NoneType"),
        ("- 1", "r.yaml: a mapping of keys is needed, found list"),
        ("a: [", "r.yaml: is not valid YAML"),
        ("name: a\nname: b", "key 'name' is there twice"),
        ("data: {root: a, root: b}", "key 'root' is there twice"),
        ("name: a", "r.yaml: key data is missing"),
        ("!!python/object/apply:os.system [true]", "is not valid YAML"),
        (SMALL.replace("root: images, ", ""), "r.yaml: key data.root is missing"),
        (SMALL.replace(", duration: 2 epochs", ""), "r.yaml: key stages.0.duration is missing"),
        (SMALL.replace("2 epochs", "2"), "stages.0.duration: found 2; accepted is a number and epochs"),
        (SMALL.replace("500 steps", "5 weeks"), "stages.1.duration: found '5 weeks'"),
        (SMALL.replace("batch_s", "batchs"), "unknown key stages.1.batchsize; nearest: batch_size"),
        (SMALL.replace("stages:", "stages: 3\nx:"), "unknown key x"),
        (SMALL.split("  -")[0].strip() + " 3", "stages: a list is needed, found 3"),
    ],
)
def test_broken_files(tmp_path, text, message):
    assert message in refused(tmp_path, text=text)


def test_unreadable_files_and_a_byte_order_mark(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load_recipe(tmp_path / "bom.yaml").name == "small"
    with pytest.raises(InputError, match=r"missing\.yaml: cannot be read \(No such file"):
        load_recipe(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: \xe9t\xe9")
    with pytest.raises(InputError, match="is not valid YAML"):
        load_recipe(path)


# One key of each group and each kind of check; every range is in docs/recipes.md, which is compared below.
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=a/b", "name: found 'a/b'; accepted: a file name"),
        ("seed=-1", "seed: found -1; accepted: 0 to 2^63 - 1"),
        ("data.n_classes=1", "data.n_classes: found 1; accepted: 2 or more"),
        ("data.prefetch=0", "data.prefetch: found 0"),
        ("data.format=list", "data.train_list: found None; accepted: a file, as format is list"),
        ("transform.size=4", "transform.size: found 4; accepted: 8 or more"),
        ("transform.scale=[0.5, 0.2]", "transform.scale: found [0.5, 0.2]"),
        ("transform.ratio=[2, 1]", "transform.ratio"),
        ("transform.jitter=1", "transform.jitter: found 1.0; accepted: 0 <= jitter < 1"),
        ("transform.std=[1, 0, 1]", "transform.std"),
        ("transform={eval: short, resize_short: 100}", "transform.resize_short: found 100; accepted: >= 224"),
        ("stages=[]", "stages: found []; accepted: at least one stage"),
        ("stages.more.name=class", "stages.0.name: found 'class'; accepted: a name used once"),
        ("stages.more.name=a.b", "stages.1.name: found 'a.b'; accepted: a folder name"),
        ("stages.more.name=table", "stages.1.name: found 'table'"),
        ("stages.class.duration=0 epochs", "stages.class.duration: found '0 epochs'; accepted: more than 0"),
        ("stages.class.accumulate=3", "class.accumulate: found 3; accepted: a divisor of batch_size 256"),
        ("stages.class.balance=1.5", "stages.class.balance: found 1.5; accepted: 0 to 1"),
        ("stages.class.mixup=.inf", "stages.class.mixup"),
        ("stages.class.eval_every=0 steps", "stages.class.eval_every: found '0 steps'"),
        ("stages.class.schedule.lr=.inf", "stages.class.schedule.lr"),
        ("stages.class.schedule.final_lr=0.2", "class.schedule.final_lr: found 0.2; accepted: 0 to lr 0.1"),
        ("stages.class.schedule.name=piecewise", "class.schedule.milestones: found []; accepted: one"),
        ("stages.class.schedule.milestones=[1 epoch]", "none with another"),
        ("stages.class.optimizer.momentum=1", "stages.class.optimizer.momentum"),
        ("stages.class.optimizer={name: adamw, nesterov: true}", "class.optimizer.nesterov: found True"),
        ("stages.class.ema={decay: 1}", "stages.class.ema.decay"),
        ("stages.class.reweight={method: class_size, power: -1}", "stages.class.reweight.power"),
        ("stages.class.reweight={method: class_size, beta: 1}", "stages.class.reweight.beta"),
        ("stages.class.reweight={method: clusters}", "method: found 'clusters'; accepted: class_size"),
        ("stages.class.reweight={power: 1}", "reweight.method: is missing; accepted: class_size, cluster"),
        ("stages.class.reweight=cluster", "stages.0.reweight: a mapping of keys is needed, found 'cluster'"),
        ("stages.class.reweight={method: cluster, powr: 1}", "key stages.0.reweight.powr; nearest: power"),
        ("stages.class.reweight={method: class_size, suffix: x}", "class.reweight.suffix: found 'x'"),
        ("stages.class.targets=Label", "stages.class.targets: found 'Label'"),
        ("stages.class.measure={top_k: 0}", "stages.class.measure.top_k: found 0; accepted: 1 or more"),
        ("stages.class.bags={size: 1}", "stages.class.bags.size: found 1; accepted: 2 or more"),
        ("stages.class.bags={size: 3}", "stages.class.bags.size: found 3; accepted: a divisor of batch_size"),
        ("stages.class.bags={bag_term: 0, instance_term: 0}", "bags.bag_term: found 0.0; accepted: a term"),
        ("stages.class={name: x, duration: 1 epochs, bags: {}, mixup: 1}", "x.mixup: found 1.0; accepted: 0"),
        ("stages.class={name: x, duration: 1 epochs, bags: {}, targets: t}", "x.targets: found 't'; acc"),
        ("stages.class.loss_weight=class_weight", "loss_weight: a list is needed, found 'class_weight'"),
    ],
)
def test_values_outside_their_range(tmp_path, override, message):
    assert message in refused(tmp_path, override)


def test_overrides_reach_every_place(tmp_path):
    recipe = load_recipe(
        write(tmp_path),
        [
            "seed=5",
            "transform.size=32",  # the file has no transform
            "stages.class.batch_size=32",  # by name
            "stages.1.batch_size=16",  # by number
            "stages.more.schedule.lr=1e-2",
            "stages.more.ema={decay: 0.5}",
            "stages.class.loss_weight=[a, b]",
            "data.class_names=null",
            "name=with=equals",
            "seed=6",  # the last one counts
        ],
    )
    assert recipe.seed == 6
    assert recipe.name == "with=equals"
    assert recipe.transform.size == 32
    assert [stage.batch_size for stage in recipe.stages] == [32, 16]
    assert recipe.stages[1].schedule.lr == 0.01
    assert recipe.stages[1].ema == Ema(decay=0.5)
    assert recipe.stages[0].loss_weight == ("a", "b")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "-o seed: key.sub=value is accepted"),
        ("seed=[", "-o seed=[: the value is not valid YAML"),
        ("transform={size: 1, size: 2}", "the value is not valid YAML"),
        ("stages.nope.keep=1", "stages.nope: 'nope' is not there; accepted: class, more or a number"),
        ("stages.7.keep=1", "'7' is not there"),
        ("name.first=1", "-o name.first=1: name holds 'small', which has no keys"),
        ("stages.class.nope=1", "unknown key stages.0.nope; nearest: "),
        ("seeds=1", "unknown key seeds; nearest: seed"),
        ("=1", "unknown key "),
    ],
)
def test_wrong_overrides(tmp_path, override, message):
    assert message in refused(tmp_path, override)


def test_hash_depends_on_values_alone(tmp_path):
    recipe = load_recipe(write(tmp_path))
    spelled = load_recipe(write(tmp_path, dump_recipe(recipe)))
    assert recipe_hash(recipe) == recipe_hash(spelled)
    assert re.fullmatch("[0-9a-f]{16}", recipe_hash(recipe))
    assert recipe_hash(dataclasses.replace(recipe, seed=1)) != recipe_hash(recipe)
    assert recipe_hash(recipe.stages[0]) != recipe_hash(recipe.stages[1])
    tree = recipe_tree(recipe)
    assert yaml.safe_load(yaml.safe_dump(tree)) == tree


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes(path):
    """The head tells what a recipe is; the run's folder is named as the recipe's file."""
    import models

    recipe, place = load_recipe(path), path.relative_to(ROOT / "recipes")
    assert recipe.name == path.stem
    assert recipe.output == str("output" / place.parent)
    assert recipe.model.name in models.NAMES
    head = path.read_text().split("\nname:")[0]
    for word in ("source:", "cost:", "expected:", "command:", f"train.py -c recipes/{place}"):
        assert word in head.lower()
    for command in head.split("train.py -c ")[1:]:  # what the head proposes is accepted
        overrides = re.findall(r'-o (\S+?=(?:"[^"]*"|\S+))', command)
        load_recipe(path, [text.replace('"', "") for text in overrides])


def test_the_documentation_is_what_the_fields_say():
    page = recipe_docs.PAGE.read_text(encoding="utf-8")
    assert recipe_docs.render(page) == page, "python -m tools.recipe_docs writes it anew"


def test_no_placeholder_is_left_in_the_texts():
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        assert not re.findall(r"@[A-Z]+@", path.read_text()), path.name

"""Recipes: every wrong key, type and value is named; overrides; round trip; hash; what ships is valid."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from tools import recipe_docs
from urnet.config import suggest
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, Transform, dump_recipe, recipe_hash, recipe_tree
from urnet.config.stage import Ema, Optimizer, Schedule, Stage
from urnet.config.tiny import own_place, tiny_overrides
from urnet.core.checks import InputError
from urnet.nn.schedule import gate_plan, plan
from urnet.pipeline.methods import class_size
from urnet.pipeline.recipes import load_recipe
from urnet.training.stage_job import check_division

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
        ("nonsense: 1", r"r.yaml: unknown key nonsense; no key is similar; docs/recipes.md"),
        ("seeed: 1", r"unknown key seeed; nearest: seed"),
        ("transform: {sizes: 3}", r"unknown key transform.sizes; nearest: transform.size$"),
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
        ("1: 2", r"unknown key 1; no key is similar"),
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
        ("name: a\nname: b", "key 'name' is given twice"),
        ("data: {root: a, root: b}", "key 'root' is given twice"),
        ("name: a", "r.yaml: key data is missing"),
        ("!!python/object/apply:os.system [true]", "is not valid YAML"),
        (SMALL.replace("root: images, ", ""), "r.yaml: key data.root is missing"),
        (SMALL.replace(", duration: 2 epochs", ""), "r.yaml: key stages.class.duration is missing"),
        (SMALL.replace("2 epochs", "2"), "stages.class.duration: found 2; accepted is a number and epochs"),
        (SMALL.replace("500 steps", "5 weeks"), "stages.more.duration: found '5 weeks'"),
        (SMALL.replace("batch_s", "batchs"), "unknown key stages.more.batchsize; nearest: stages.more.batch_size"),
        (SMALL.replace("stages:", "stages: 3\nx:"), "unknown key x"),
        (SMALL.split("  -")[0].strip() + " 3", "stages: a list is needed, found 3"),
    ],
)
def test_broken_files(tmp_path, text, message):
    assert message in refused(tmp_path, text=text)


def test_unreadable_files_and_a_byte_order_mark(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load_recipe(tmp_path / "bom.yaml").name == "small"
    with pytest.raises(InputError, match=r"/folder\.yaml: cannot be read .*; perhaps recipes/folder\.yaml is meant$"):
        load_recipe(tmp_path / "folder.yaml")
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
        ("data.decoder=pillow", "data.decoder: found 'pillow'; accepted: opencv, dali"),
        ("transform.std=[1, 0, 1]", "transform.std"),
        ("transform.std=[0.0009, 0.0009, 0.0009]", "transform.std: found [0.0009, 0.0009, 0.0009]; accepted: three"),
        (
            "transform={mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375]}",
            "transform.mean: found [123.675, 116.28, 103.53]; accepted: numbers of values 0..1, here mean: "
            "[0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] (those of 0..255 divided by 255)",
        ),
        ("transform={mean: [104, 117, 123], std: [1, 1, 1]}", "0.4588, 0.4824], std: [0.0039, 0.0039, 0.0039]"),
        ("transform={mean: [124, 116, 104], std: [0.2, 0.2, 0.2]}", "0.4549, 0.4078], std: [0.2, 0.2, 0.2]"),
        ("transform={mean: [0.5, 0.5, 0.5], std: [127.5, 127.5, 127.5]}", "transform.std: found [127.5, 127.5, 127.5"),
        ("transform.mean=[-1, 0, 0]", "transform.mean: found [-1.0, 0.0, 0.0]; accepted: three numbers from 0 to 1"),
        ("transform.scale=[8, 100]", "accepted: 0 < low <= high <= 1 (in percent? then [0.08, 1])"),
        ("transform.ratio=[75, 133]", "accepted: 0 < low <= high <= 20 (in percent? then [0.75, 1.33])"),
        ("transform.jitter=30", "accepted: 0 <= jitter < 1 (in percent? then 0.3)"),
        ("stages.class.label_smoothing=10", "accepted: 0 <= label_smoothing < 1 (in percent? then 0.1)"),
        ("stages.class.balance=50", "accepted: 0 to 1 (in percent? then 0.5)"),
        ("stages.class.schedule.lr=1000", "schedule.lr: found 1000.0; accepted: more than 0, up to 100"),
        ("stages.class.optimizer.weight_decay=10", "accepted: less than 1 / schedule.lr, 10, as a step takes"),
        ("stages.class.optimizer.momentum=90", "accepted: 0 <= momentum < 1 (in percent? then 0.9)"),
        ("transform={eval: short, resize_short: 100}", "transform.resize_short: found 100; accepted: >= 224"),
        ("stages=[]", "stages: found []; accepted: at least one stage"),
        ("stages.more.name=class", "stages.0.name: found 'class'; accepted: a name used once"),
        ("stages.more.name=a.b", "stages.1.name: found 'a.b'; accepted: a folder name"),
        ("stages.more.name=table", "stages.1.name: found 'table'"),
        ("stages.class.duration=0 epochs", "stages.class.duration: found '0 epochs'; accepted: more than 0"),
        ("stages.class.duration=0", "stages.class.duration: found '0 epochs'; accepted: more than 0"),
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
        ("stages.class.reweight=cluster", "stages.class.reweight: a mapping of keys is needed, found 'cluster'"),
        (
            "stages.class.reweight={method: cluster, powr: 1}",
            "key stages.class.reweight.powr; nearest: stages.class.reweight.power",
        ),
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


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.5,) * 3, (0.5,) * 3),
        ((0.0,) * 3, (1.0,) * 3),
        ((0.4085, 0.4588, 0.4824), (1 / 255,) * 3),
    ],
)
def test_usual_colours_are_accepted(tmp_path, mean, std):
    recipe = load_recipe(write(tmp_path), [f"transform.mean={list(mean)}", f"transform.std={list(std)}"])
    assert (recipe.transform.mean, recipe.transform.std) == (mean, std)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "transform.train=pad_crop",
            "transform.train: found 'pad_crop'; accepted: random_resized_crop with data.decoder",
        ),
        ("transform.trivial_augment=true", "transform.trivial_augment: found True; accepted: false with data.decoder"),
        ("transform.erasing=0.1", "transform.erasing: found 0.1; accepted: 0 with data.decoder dali"),
        ("stages.class.dividemix={}", "stages.class.dividemix: found 'a mapping'; accepted: null with data.decoder"),
    ],
)
def test_views_that_dali_does_not_make(tmp_path, override, message):
    load_recipe(write(tmp_path), [override])
    with pytest.raises(InputError, match=re.escape(message)):
        load_recipe(write(tmp_path), ["data.decoder=dali", override])


def test_who_decodes_does_not_make_another_experiment(tmp_path):
    """A stage that is finished stays so, and one that was begun goes on."""
    one, other = (load_recipe(write(tmp_path), [f"data.decoder={name}"]) for name in ("opencv", "dali"))
    assert recipe_hash(one) == recipe_hash(load_recipe(write(tmp_path)))
    trees = [recipe_tree(recipe, added_keys=False, free_keys=False) for recipe in (one, other)]
    assert trees[0] == trees[1]


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
        ("stages.nope.keep=1", "stages.nope: 'nope' does not exist; accepted: class, more, a number, or * for all"),
        ("stages.7.keep=1", "'7' does not exist"),
        ("name.first=1", "-o name.first=1: name holds 'small', which has no keys"),
        ("stages.class.nope=1", "unknown key stages.class.nope; no key is similar"),
        ("seeds=1", "unknown key seeds; nearest: seed"),
        ("=1", "unknown key "),
    ],
)
def test_wrong_overrides(tmp_path, override, message):
    assert message in refused(tmp_path, override)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("stages.class.lr=0.1", "stages.class.schedule.lr"),
        ("stages.class.optimizer.lr=0.1", "stages.class.schedule.lr"),
        ("stages.more.epochs=5", "stages.more.duration=N epochs"),
        ("stage_defaults.lr=0.1", "stage_defaults.schedule.lr"),
        (
            "batch_size=8",
            "stages.*.batch_size, stages.*.measure.batch_size (* is every stage; a stage's name: that one)",
        ),
        ("Learning-Rate=0.1", "stages.*.schedule.lr (* is"),
        ("optimizer.lr=0.1", "stages.*.schedule.lr, stages.*.optimizer (* is"),
        ("Global.epochs=9", "stages.*.duration=N epochs (* is"),
        ("Arch.name=ResNet50", "model.name, name, stages.*.name (* is"),
        ("wd=0.1", "stages.*.optimizer.weight_decay (* is"),
        ("num_workers=2", "data.workers"),
        ("data.num_classes=3", "data.n_classes"),
        ("model.arch=ResNet50", "model.name"),
        ("train_dir=images", "data.root"),
        ("img_size=32", "transform.size"),
        ("pretrained=true", "stages.NAME.start=CHECKPOINT"),
        ("gpu=0", "device"),
        ("data.valroot=x", "data.val_root, data.root"),
        ("stages.more.reweight={method: label, shrinkage: 1}", "stages.more.reweight.evidence.shrinkage"),
    ],
)
def test_other_words_for_a_key_and_slips_are_understood(tmp_path, override, meant):
    message = refused(tmp_path, override)
    assert f"; nearest: {meant}" in message
    assert message.count(", stages.") < 3


def test_every_word_of_others_stands_for_a_key_that_is_there():
    known = set(suggest.key_paths(Recipe))
    for key in suggest._MEANT:
        assert key.partition("=")[0].replace("NAME", "*") in known


def test_a_pattern_sets_a_key_of_every_stage_it_fits(tmp_path):
    """What is said later on the command line wins, whatever is said there of one stage and of all."""
    text = SMALL + "stage_defaults: {keep: 7}\n"
    every = ["stages.*.batch_size=16", "stages.*.schedule.lr=0.5", "stages.m*.keep=3", "stages.*.loss_weight=[a]"]
    recipe = load_recipe(write(tmp_path, text), [*every, "stages.class.batch_size=32", "stage_defaults.batch_size=8"])
    assert [stage.batch_size for stage in recipe.stages] == [32, 16]
    assert [stage.schedule.lr for stage in recipe.stages] == [0.5, 0.5]
    assert [stage.keep for stage in recipe.stages] == [7, 3]
    assert [stage.loss_weight for stage in recipe.stages] == [("a",), ("a",)]
    recipe = load_recipe(write(tmp_path), ["stages.more.batch_size=32", *every])
    assert [stage.batch_size for stage in recipe.stages] == [16, 16]
    assert "stages.x*: 'x*' does not exist; accepted: class, more" in refused(tmp_path, "stages.x*.keep=1")
    assert "unknown key stages.class.lr; nearest: stages.class.schedule.lr" in refused(tmp_path, "stages.*.lr=1")


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


@pytest.mark.parametrize("n_processes", [1, 3])
@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_any_recipe_is_cut_down_to_a_first_try(path, n_processes):
    import models

    whole = load_recipe(path)
    least = models.LEAST_SIZES.get(whole.model.name, 1)
    keys = tiny_overrides(whole, least_size=least, n_processes=n_processes)
    tiny = load_recipe(path, [*keys, *own_place(whole)])
    models.check_size(tiny.model.name, tiny.transform.size, "size")
    assert (tiny.name, tiny.data.table, tiny.data.workers) == (f"{whole.name}-tiny", None, 0)
    assert tiny.data.limit * 10 >= 2 * n_processes
    for stage, before in zip(tiny.stages, whole.stages, strict=True):
        assert stage.duration == Duration(4, "steps")
        assert stage.batch_size <= 12 * n_processes
        check_division(stage, n_processes, None)
        plan(stage, 10)
        gate_plan(stage, 10)
        assert (stage.loss, stage.targets, stage.reweight) == (before.loss, before.targets, before.reweight)
    keys = [*keys, "stages.*.batch_size=48", "transform.size=96", "transform.resize_short=96"]
    assert {stage.batch_size for stage in load_recipe(path, keys).stages} == {48}


def test_the_documentation_is_what_the_fields_say():
    page = recipe_docs.PAGE.read_text(encoding="utf-8")
    assert recipe_docs.render(page) == page, "python -m tools.recipe_docs writes it anew"


def test_no_placeholder_is_left_in_the_texts():
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        assert not re.findall(r"@[A-Z]+@", path.read_text()), path.name


@pytest.mark.parametrize("zero", ["0", "0.0", "0 steps"])
def test_a_warm_up_of_nothing_needs_no_unit_and_leaves_the_hash(tmp_path, zero):
    """In a file as in an override; 0 of anything is 0."""
    plain = load_recipe(write(tmp_path, SMALL))
    said = load_recipe(tmp_path / "r.yaml", [f"stages.class.schedule.warmup={zero}"])
    written = SMALL.replace("duration: 2 epochs", f"duration: 2 epochs, schedule: {{warmup: {zero}}}")
    assert said == load_recipe(write(tmp_path, written))
    assert said.stages[0].schedule.warmup.amount == 0
    assert zero == "0 steps" or recipe_hash(said) == recipe_hash(plain)


def test_shrinkage_is_a_number_or_a_word_and_its_default_leaves_the_hash():
    key = "stages.instance.reweight.evidence.shrinkage"
    path = ROOT / "recipes/folder_scratch.yaml"
    plain, auto, said = (load_recipe(path, [f"{key}={value}"] if value else []) for value in ("", "auto", "0.1"))
    stage = next(stage for stage in auto.stages if stage.name == "instance")
    assert stage.reweight.evidence.shrinkage == "auto"
    assert recipe_hash(said) == recipe_hash(plain) != recipe_hash(auto)
    for wrong in ("most", "true", "[1]"):
        with pytest.raises(InputError, match=f"{key}: found .*; accepted: a number, or auto"):
            load_recipe(path, [f"{key}={wrong}"])
    with pytest.raises(InputError, match="accepted: 0 to 1, or auto"):
        load_recipe(ROOT / "recipes/folder_scratch.yaml", [f"{key}=2"])

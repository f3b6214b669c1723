"""tools/plan.py: its counts beside brute force, its bytes beside the files of a run, what it refuses."""

import dataclasses
import gc
import json
import re
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from tests.helpers.tiny_stages import MORE, recipe_of, train
from tests.helpers.tiny_training import write_images
from tools import plan, plan_given, plan_text
from tools.plan_bytes import base_row_bytes, disk_use, files_of, measurement_of, total
from tools.plan_memory import DRAWING, DRAWN, memory_of
from tools.plan_network import network_size
from tools.plan_stages import bn_images, busiest, plan_stages, task_of
from tools.speed.table import make_lists
from urnet.config.recipe import Data, Model, Recipe, active_stages
from urnet.config.stage import Stage
from urnet.config.yaml_dataclass import Reader
from urnet.core import cli
from urnet.data.lists.build_table import build_table
from urnet.data.sampling.bag_sampler import BagSampler
from urnet.data.sampling.curriculum_sampler import CurriculumSampler
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA
from urnet.features.shards import Description
from urnet.pipeline.methods import METHODS

ROOT = Path(__file__).parents[2]
WEBVISION = str(ROOT / "recipes/webvision2018/urnet_resnext101_32x4d.yaml")
ROWS = 61  # of the tiny training
EVIDENCE = {"folds": 2, "rounds": 0}
KEEP = {"batch_size": 16, "top_k": 2, "keep": True}
SHORT = {**MORE, "loss_weight": [], "checkpoint_every": "1 steps"}
STAGES = (  # every file that a stage can write, every part of a checkpoint
    {**SHORT, "name": "cluster", "reweight": {"method": "cluster", "evidence": EVIDENCE}, "measure": KEEP},
    {
        **SHORT,
        "name": "instance",
        "measure": KEEP,
        "ema": {"decay": 0.9, "bn_batches": 9},
        "keep": 1,
        "reweight": {"method": "instance", "evidence": EVIDENCE, "suffix": "_own"},
    },
    {**SHORT, "name": "bag", "bags": {"size": 2}, "keep": 5},
    {**SHORT, "name": "label", "reweight": {"method": "label", "top_k": 2, "evidence": EVIDENCE}, "elr": {"top_k": 2}},
    {
        **SHORT,
        "name": "curriculum",
        "reweight": {"method": "curriculum", "pca": 4, "delta": True},
        "optimizer": {"name": "adamw"},
    },
    {**SHORT, "name": "relabel", "reweight": {"method": "relabel"}, "checkpoint_every": "9 steps"},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A recipe of seven stages, its plan for one process, the plan's files, and the folder of the run."""
    images, folder = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("run")
    write_images(images)
    recipe = recipe_of(images, folder, stages=STAGES)
    train(recipe)
    network = network_size(recipe.model.name, 3)
    plans = plan_stages(recipe, ROWS, 12, network, 1)
    return recipe, plans, files_of(recipe, plans, ROWS, network), folder / "out/tiny"


# --- bytes


def test_columns_are_those_of_the_table_to_the_byte(run):
    _, _, files, home = run
    table = Table.open(home / "table")
    planned = {item.what.split()[0]: item for stage in files for item in stage.columns}
    assert set(planned) == set(table.columns) - set(BASE_SCHEMA.names)
    for name, item in planned.items():
        values = table.column(name)
        k = f" x {values.shape[1]}" if values.ndim > 1 else ""
        assert item.what == f"{name} {values.dtype}{k}"
        assert item.bytes == values.nbytes, name
        assert item.path == f"table/{table.file_of(name)}.arrow"


def test_a_large_column_file_is_its_values(run):
    table = Table.open(run[-1] / "table")
    values = np.zeros((ROWS, 20_000), np.float16)
    table.write("large", {"large": values}, stage="a", recipe_hash="b", checkpoint="c")
    size = (table.folder / "large.arrow").stat().st_size
    (table.folder / "large.arrow").unlink()
    assert values.nbytes < size < 1.001 * values.nbytes + 2000


def test_measurements_are_counted_to_the_byte(run):
    _, _, files, home = run
    seen = 0
    for stage in (stage for stage in files if stage.measurement_stays):
        for item in stage.measurement:
            assert sum(file.stat().st_size for file in home.glob(item.path)) == item.bytes, item.path
            seen += 1
        there = sum(file.stat().st_size for file in (home / "measure" / stage.name).glob("*/*"))
        assert there == stage.measured_bytes
    assert seen == 10
    assert not (home / "measure/label").exists()


def test_measurements_of_several_shards_have_a_header_each():
    about = Description("", "", 5, 3, 2, 4, shard=2)
    sizes = {item.path.split("/")[-1]: item.bytes for item in measurement_of(Stage("a", None), about)}
    assert sizes == {
        "features.npy": 5 * 3 * 2 + 3 * 128,
        "given.npy": 5 * 4 + 3 * 128,
        "index.npy": 5 * 2 * 4 + 3 * 128,
        "prob.npy": 5 * 2 * 2 + 3 * 128,
        "readable.npy": 5 + 3 * 128,
    }


def test_checkpoints_are_counted_but_for_their_headers(run):
    recipe, plans, files, home = run
    for stage, counted, own in zip(active_stages(recipe), plans, files, strict=True):
        folders = sorted((home / stage.name).glob("step-*"))
        assert len(folders) == counted.checkpoints_kept == own.kept
        for folder in [*folders, home / stage.name / "best", home / stage.name / "final"]:
            expected = {Path(item.path).name: item.bytes for item in own.checkpoint}
            if folder.name in ("best", "final"):
                expected = {"model.safetensors": own.for_use}
            found = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
            assert set(found) == set(expected)
            for name, size in found.items():
                assert size - expected[name] == header_of(folder / name), (folder, name)
    assert [own.kept for own in files] == [1, 2, 1, 3, 2, 2, 0]
    parts = {Path(item.path).stem for own in files for item in own.checkpoint}
    assert parts == {"model", "optimizer", "ema", "bags", "early"}


def header_of(file):
    """Bytes before the values of a safetensors file: a length of 8 bytes and the names."""
    return 8 + int.from_bytes(file.read_bytes()[:8], "little")


def test_base_arrow_of_generated_lists(tmp_path):
    """The formula within 0.1 %, and the lengths that are assumed for WebVision within 2 %."""
    n = make_lists(tmp_path, 30_000, 100)
    build_table(Data(root=str(tmp_path), n_classes=200), tmp_path / "table")
    size = (tmp_path / "table/base.arrow").stat().st_size
    table = Table.open(tmp_path / "table")
    lengths = []
    for name in ("path", "text"):
        lengths.append(pc.mean(pc.binary_length(pc.cast(table.strings(name, range(n)), "string"))).as_py())
    assert n * base_row_bytes(*lengths) == pytest.approx(size, rel=1e-3)
    assert n * base_row_bytes(*plan_given.TEXTS["webvision2"]) == pytest.approx(size, rel=0.02)


def test_the_disk_is_fullest_while_a_stage_is_measured():
    small = network_size("ResNeXt_small32", 3)
    recipe = toy_recipe()
    plans = plan_stages(recipe, 1_000_000, 10, small, 1)
    files = files_of(recipe, plans, 1_000_000, small)
    (_, first, left), (_, second, end) = disk_use(1000, files)
    weights = 4 * small.weights
    full = weights + 2 * 4 * small.parameters
    assert left == 1000 + 4_000_000 + 2 * full + 2 * weights
    assert first == left + full  # a third checkpoint is written before the first goes
    measured = 1_000_000 * (128 * 2 + 4 + 3 * 4 + 3 * 2 + 1) + 16 * 5 * 128
    assert second == left + 6_000_000 + measured
    assert end == left + 6_000_000 + 2 * full + 2 * weights


def test_memory_by_hand():
    small = network_size("ResNeXt_small32", 3)
    recipe = toy_recipe(batch_size=64, optimizer={"name": "adamw"}, elr={"top_k": 10})
    (first, _) = memory_of(recipe, plan_stages(recipe, 1000, 10, small, 2), 1000, small)
    p, w = 4 * small.parameters, 4 * small.weights
    assert first.device == w + p + (2 * p + 8 * small.trained_tensors) + p + w
    assert first.rows_held == 1000 * (4 + 4 + 6 * 3) + 1000 * 4 // 2
    assert first.rows_most == 1000 * (4 + 4 + 6 * 3 + 8)
    assert first.images == 3 * 224**2 * 6 * (32 + 64)  # four batches ahead, one filled, one in use
    assert first.host == first.rows_most + first.images


def toy_recipe(**stage):
    """Two stages of a recipe that nothing is read for: class weights, then clusters."""
    tree = {"duration": "2 epochs", "batch_size": 64, "checkpoint_every": "99 steps", "ema": {}, **stage}
    reader = Reader("toy", {name: method.settings for name, method in METHODS.items()})
    stages = [
        reader.build(Stage, {**tree, "name": name, "reweight": {"method": method}}, "")
        for name, method in (("one", "class_size"), ("two", "cluster"))
    ]
    return Recipe("toy", Data("/nowhere", 3), Model("ResNeXt_small32"), tuple(stages))


# --- memory


@pytest.mark.parametrize("kind", ["plain", "weighted", "bags", "subsets"])
def test_memory_of_the_orders(kind):
    """What one process of four holds of an epoch's order, and the most while it is drawn (tracemalloc).

    What does not grow with the rows, the blocks in which is computed, is under 10 MiB.
    """
    n, rng, blocks = 1_000_000, np.random.default_rng(0), 10 << 20
    labels = rng.integers(0, 300, n).astype(np.int32)
    weight, subset = rng.random(n, np.float32) + 0.01, rng.integers(0, 3, n).astype(np.int8)
    common = {"seed": 0, "stage": "a", "n_classes": 300}
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    batches = {
        "plain": lambda: EpochSampler(labels, **common),
        "weighted": lambda: EpochSampler(labels, sampling_weight=weight, **common),
        "bags": lambda: BagSampler(labels, size=4, sampling_weight=weight, **common),
        "subsets": lambda: CurriculumSampler(labels, subset=subset, parts=(2, 1, 1), **common),
    }[kind]().batches(0, 2000, 0, 1, 4)
    assert len(next(batches)) == 500
    held, peak = (value - before for value in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    parts = 1 if kind == "subsets" else 4
    assert 0.95 * DRAWN * n / parts < held < DRAWN * n / parts + blocks / 10
    least = DRAWN + DRAWN / 4 if kind == "plain" else DRAWING  # a permutation is drawn in place
    assert 0.95 * least * n < peak < DRAWING * n + blocks


# --- counts


def test_counts_are_those_of_the_training(run):
    recipe, plans, _, home = run
    for stage, counted in zip(active_stages(recipe), plans, strict=True):
        state = json.loads((home / stage.name / "final/state.json").read_text())
        assert counted.updates == state["total_steps"] == state["step"]
        assert counted.epochs == pytest.approx(state["epoch"])
        log = (home / stage.name / "log.txt").read_text()
        assert counted.evaluations == len(re.findall("top1", log)), log


@pytest.mark.parametrize("rows", [5, 9, 61, 64, 200])
@pytest.mark.parametrize("size", [0, 3])
def test_images_drawn_by_brute_force(rows, size):
    bags = {"bags": {"size": size}} if size else {}
    recipe = toy_recipe(batch_size=12, ema={"bn_batches": 4}, accumulate=2, **bags)
    stage, labels = recipe.stages[0], np.arange(rows, dtype=np.int32) % 3
    counted = plan_stages(recipe, rows, 10, network_size("ResNeXt_small32", 3), 1)[0]
    task = dataclasses.replace(task_of(recipe, stage, labels), table=types.SimpleNamespace(path=str))
    shown = [batch for epoch in range(2) for batch in task.sampler.batches(epoch, 12)]
    assert counted.updates == len(shown)
    assert counted.images_drawn == sum(map(len, shown))
    assert counted.bn_images == sum(len(rows) for _, rows in task.bn_loader(4).batches)
    assert bn_images(task_of(recipe, dataclasses.replace(stage, ema=None), labels)) == 0


@pytest.mark.parametrize("world_size", [1, 2, 3, 8, 300])
@pytest.mark.parametrize("n", [16_076_665, 65_536 * 9, 1])
def test_the_busiest_process_by_brute_force(n, world_size):
    about = Description("", "", n, 2048, 20, 256)
    rows = [0] * world_size
    for number in range(about.n_shards):
        rows[number % world_size] += len(about.rows(number))
    assert busiest(n, about.shard, world_size) == max(rows)
    assert sum(rows) == n


# --- the command


def call(capsys, *arguments):
    code = cli.run(plan.main, [str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_webvision_on_eight_processes_and_on_thirty_two(capsys, tmp_path):
    trees, texts = [], []
    for machines in (1, 4):
        code, out, _ = call(
            capsys,
            "-c",
            WEBVISION,
            "--rows",
            16_000_000,
            "--evaluation-images",
            294_099,
            "--processes",
            8,
            "--machines",
            machines,
            "--images-per-second",
            250,
            "--json",
            tmp_path / "plan.json",
        )
        assert code == 0
        texts.append(out)
        trees.append(json.loads((tmp_path / "plan.json").read_text()))
    one, four = trees
    assert one["network"]["parameters"] == 96_987_336
    first = one["stages"][0]
    assert first["updates"] == 20 * (16_000_000 // 1024) == 312_500
    assert first["images_drawn"] == 320_000_000
    assert first["bn_images"] == 100 * 256
    assert one["hours"][0]["training"] == pytest.approx(320e6 / 2000 / 3600)
    assert one["hours"][0]["evaluation"] == pytest.approx(
        20 * (144 + 13) * 256 / 750 / 3600  # 1,149 and 100 batches of 256 images among 8 processes
    )
    assert one["hours"][1]["measuring"] == pytest.approx(31 * 65_536 / 750 / 3600)  # 245 shards among 8
    assert one["hours"][0]["training"] == pytest.approx(4 * four["hours"][0]["training"])
    for a, b in zip(one["stages"], four["stages"], strict=True):
        same = set(a) - {"rows_a_process", "micro_batch", "measured_by_busiest", "evaluated_by_busiest"}
        assert {key: a[key] for key in same} == {key: b[key] for key in same}
        assert a["rows_a_process"] == 4 * b["rows_a_process"] == 128
    assert one["files"] == four["files"]
    line = next(line for line in texts[0].splitlines() if line.startswith("class ") and "312,500" in line)
    assert line.split() == ["class", "20", "312,500", "1,024", "128", "128", "15,625", "cosine,", "0.4", "to", "0"]
    for text in ("features.npy    float16 x 2048", "16,000,000 (--rows)", "a third of a training step"):
        assert text in texts[0]


def test_the_page_shows_what_the_tool_prints(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    command, shown = re.search(r"\$ python tools/plan\.py (.+?--no-files)\n(.+?)```", page, re.S).groups()
    code, out, _ = call(capsys, *command.replace("\\\n", "").split())
    assert code == 0
    assert out == shown
    _, out, _ = call(capsys, *command.replace("\\\n", "").split(), "--machines", 4)
    total = next(line for line in out.splitlines() if line.startswith("total") and "." in line).split()
    assert f"| {', '.join(total[1:4])} |" in page
    assert f"| {total[4]} |" in page


def test_the_table_of_a_run_is_asked_for_its_rows(capsys, run):
    home = run[-1]
    config = home.parent.parent / "stages.yaml"
    code, out, _ = call(capsys, "-c", config, "--no-files")
    assert code == 0
    assert f"61 (in {home}/table)" in out
    assert "12 images (listed)" in out
    assert "Hours" not in out
    assert "Files under" not in out
    base = home / "table/base.arrow"
    code, out, _ = call(capsys, "-c", config)
    assert re.search(rf"table/base\.arrow +as it is +{re.escape(plan_text.size(base.stat().st_size))}", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--processes", "3"],
            "stages.class.batch_size: found 1024; a multiple of 3 is accepted, as it is "
            "divided among 3 processes x accumulate 1",
        ),
        (
            ["--processes", "256", "--machines", "2"],
            "stages.bag.batch_size: found 1024; a multiple of 2048 "
            "is accepted, as it is divided among 512 processes x accumulate 1 x bags.size 4",
        ),
        (["-o", "stages.class.accumulate=256", "--processes", "8"], "a multiple of 2048 is accepted"),
        (["--rows", "1000", "--processes", "8"], "stages.class.batch_size: found 1024, but there are 1000"),
        (["--rows", "0"], "--rows: found 0; 1 or more is accepted"),
        (["--images-per-second", "-1"], "--images-per-second: found -1.0; more than 0 is accepted"),
        (["--images-per-second", "nan"], "--images-per-second: found nan"),
        (["--text-bytes", "-1"], "--text-bytes: found -1.0; 0 or more is accepted"),
        (["--evaluation-images-per-second", "9"], "needs --images-per-second beside it"),
        (["-o", "stages.class.schedule.warmup=21 epochs"], "stages.class.schedule.warmup: 21 epochs is"),
        (["-o", "data.format=webvision1"], "--rows: is needed for format webvision1"),
        (["-o", "data.format=webvision1", "--rows", "9"], "--evaluation-images: is needed"),
        (["-o", "model.name=ResNet5"], "model.name: 'ResNet5' is not known; nearest: ResNet50"),
        (["-o", "transform.size=16", "-o", "model.name=DenseNet121"], "DenseNet121 takes 29 or more"),
        (["-o", "stages.class.lr=1"], "unknown key stages.0.lr; nearest: elr"),
    ],
)
def test_one_line_for_what_is_refused(capsys, arguments, message):
    code, out, err = call(capsys, "-c", WEBVISION, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_sizes_have_units():
    assert [plan_text.size(n) for n in (0, 1023, 1024, 3 * 2**19, 5 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "1.50 MiB",
        "5,120.00 GiB",
    ]
    assert total([]) == 0

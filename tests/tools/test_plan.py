"""tools/py: its counts beside brute force, its bytes beside the files of a run, what it refuses."""

import dataclasses
import json
import re
import tempfile
import types
from pathlib import Path

import pyarrow.compute as pc
import pytest

from tests.helpers.tiny_stages import MORE, recipe_of, train
from tests.helpers.tiny_training import write_images
from tools import plan
from tools.planning.counts import busiest, counts_of, job_of
from tools.planning.feeding import Feeding, feeding, feeding_lines
from tools.planning.files import BASE_ROW, TEXTS, Artefact, disk_of, files_of, measurement_of
from tools.planning.given import Given, listed_rows
from tools.planning.hours import forecast
from tools.planning.measure import Measured, measure
from tools.planning.memory import device_memory, host_memory
from tools.planning.network import network_size
from tools.planning.pace import Pace, Pass, shown, timed_pass
from tools.planning.plan import make_plan
from tools.planning.rehearsal import Rehearsal, with_evaluation_rate
from tools.planning.text import bottleneck, duration, size
from tools.planning.timing import Timed
from tools.speed.table import make_lists
from urnet.config.recipe import Data, Model, Recipe, active_stages
from urnet.config.stage import Stage
from urnet.config.yaml_dataclass import Reader
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table
from urnet.data.table.table import Table
from urnet.data.table.writer import BASE_SCHEMA
from urnet.features.shards import Description
from urnet.pipeline.methods import METHODS
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]
WEBVISION = str(ROOT / "recipes/webvision2018/urnet_resnext101_32x4d.yaml")
ROWS = 61  # of the tiny training
EVIDENCE = {"folds": 2, "rounds": 0}
KEEP = {"batch_size": 16, "top_k": 2, "keep": True}
SHORT = {**MORE, "loss_weight": [], "checkpoint_every": "1 steps"}
STAGES = (  # every file that a stage can write, every part of a checkpoint
    {"name": "cluster", "reweight": {"method": "cluster", "evidence": EVIDENCE}, "measure": KEEP},
    {"name": "instance", "reweight": {"method": "instance", "evidence": EVIDENCE, "suffix": "_own"}, "measure": KEEP}
    | {"ema": {"decay": 0.9, "bn_batches": 9}, "keep": 1},
    {"name": "bag", "bags": {"size": 2}, "keep": 5},
    {"name": "label", "reweight": {"method": "label", "top_k": 2, "evidence": EVIDENCE}, "elr": {"top_k": 2}},
    {"name": "curriculum", "reweight": {"method": "curriculum", "pca": 4, "delta": True}}
    | {"optimizer": {"name": "adamw"}, "sop": {"top_k": 2}},
    {"name": "relabel", "reweight": {"method": "relabel"}, "checkpoint_every": "9 steps"},
    {"name": "pair", "start": "scratch", "dividemix": {"warmup": "1 steps"}, "ema": {"decay": 0.9, "bn_batches": 9}},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The file of a recipe of eight stages, the recipe, its stages' plans by name, and the folder of its run."""
    folder = tmp_path_factory.mktemp("run")
    write_images(folder)
    recipe = recipe_of(folder, folder, stages=[{**SHORT, **stage} for stage in STAGES])
    file = folder / "stages.yaml"
    planned = make_plan(plan.parser().parse_args(["-c", str(file)]), recipe)
    assert (planned.rows, planned.evaluation_images.value) == (Given(ROWS, "listed"), 12)
    train(recipe)
    return file, recipe, {stage.name: stage for stage in planned.stages}, Path(recipe.output) / recipe.name


@pytest.fixture(scope="module")
def small():
    return network_size("ResNeXt_small32", 3)


def of_kind(stage, kind):
    return [file for file in stage.files if file.kind == kind]


# --- bytes


def test_columns_are_those_of_the_table_to_the_byte(run):
    _, _, stages, home = run
    table = Table.open(home / "table")
    planned = {item.what.split()[0]: item for stage in stages.values() for item in of_kind(stage, "column")}
    assert set(planned) == set(table.columns) - set(BASE_SCHEMA.names)
    for name, item in planned.items():
        values = table.column(name)
        k = f" x {values.shape[1]}" if values.ndim > 1 else ""
        path = f"table/{table.file_of(name)}.arrow"
        assert item == Artefact("column", path, f"{name} {values.dtype}{k}", values.nbytes)


def test_measurements_are_counted_to_the_byte(run):
    _, _, stages, home = run
    for name in ("cluster", "instance"):
        planned = of_kind(stages[name], "measurement")
        assert len(planned) == 5
        for item in planned:
            assert sum(file.stat().st_size for file in home.glob(item.path)) == item.bytes, item.path
        there = sum(file.stat().st_size for file in (home / "measure" / name).glob("*/*"))
        assert there == stages[name].disk["measurement"]
    assert of_kind(stages["label"], "measurement")
    assert not (home / "measure/label").exists()  # it does not stay


def test_measurements_of_several_shards_have_a_header_each():
    found = measurement_of(Stage("a", None), Description("", "", 5, 3, 2, 4, shard=2))
    sizes = {Path(item.path).stem: item.bytes - 3 * 128 for item in found}
    assert sizes == {"features": 5 * 3 * 2, "given": 5 * 4, "index": 5 * 2 * 4, "prob": 5 * 2 * 2, "readable": 5}


def test_checkpoints_are_counted_but_for_their_headers(run):
    _, recipe, stages, home = run
    for stage in active_stages(recipe):
        checkpoint = {Path(item.path).name: item.bytes for item in of_kind(stages[stage.name], "checkpoint")}
        result = {Path(item.path).name: item.bytes for item in of_kind(stages[stage.name], "result")}
        folders = sorted((home / stage.name).glob("step-*"))
        assert len(folders) == stages[stage.name].counts.checkpoints_kept
        expected = dict.fromkeys(folders, checkpoint)
        expected |= {home / stage.name / name: result for name in ("best", "final")}
        for folder, files in expected.items():
            found = {file.name: file.stat().st_size - header_of(file) for file in folder.glob("*.safetensors")}
            assert found == files, folder
    assert [stage.counts.checkpoints_kept for stage in stages.values()] == [1, 2, 1, 3, 2, 2, 0, 2]
    parts = {Path(item.path).stem for stage in stages.values() for item in of_kind(stage, "checkpoint")}
    assert parts == {"model", "second", "optimizer", "ema", "bags", "early", "noise", "division"}


def header_of(file):
    """Bytes before the values of a safetensors file: a length of 8 bytes and the names."""
    return 8 + int.from_bytes(file.read_bytes()[:8], "little")


def test_base_arrow_of_generated_lists(tmp_path):
    """The formula within 0.1 %, and the lengths that are assumed for WebVision within 2 %."""
    n = make_lists(tmp_path, 30_000, 100)
    data = Data(root=str(tmp_path), n_classes=200)
    assert listed_rows(data) == n
    table = build_table(data, tmp_path / "table")
    size = (tmp_path / "table/base.arrow").stat().st_size
    lengths = sum(
        pc.mean(pc.binary_length(pc.cast(table.strings(name, range(n)), "string"))).as_py() for name in ("path", "text")
    )
    assert n * (BASE_ROW + lengths) == pytest.approx(size, rel=1e-3)
    assert n * (BASE_ROW + sum(TEXTS["webvision2"])) == pytest.approx(size, rel=0.02)


def toy_recipe(**stage):
    """Two stages of a recipe that nothing is read for: class weights, then clusters."""
    tree = {"duration": "2 epochs", "batch_size": 64, "checkpoint_every": "99 steps", "ema": {}, **stage}
    reader = Reader("toy", {name: method.settings for name, method in METHODS.items()})
    stages = [
        reader.build(Stage, {**tree, "name": name, "reweight": {"method": method}}, "")
        for name, method in (("one", "class_size"), ("two", "cluster"))
    ]
    return Recipe("toy", Data("/nowhere", 3), Model("ResNeXt_small32"), tuple(stages))


def test_the_disk_is_fullest_while_a_stage_is_measured(small):
    recipe, n, there, uses = toy_recipe(), 1_000_000, 1000, []
    for stage in recipe.stages:
        counts = counts_of(recipe, stage, n, 10, 1)
        uses.append(disk_of(stage, counts, files_of(recipe, stage, counts, n, small), there))
        there = uses[-1]["stays in all"]
    weights = 4 * small.weights
    full = weights + 2 * 4 * small.parameters
    last = weights + 4 * (3 * 128 + 2)  # with where the three classes are
    left = 1000 + 4_000_000 + 2 * full + 2 * last
    measured = 1_000_000 * (128 * 2 + 4 + 3 * 4 + 3 * 2 + 1) + 16 * 5 * 128
    first, second = ((use["peak of all files"], use["stays in all"]) for use in uses)
    assert first == (left + full, left)  # a third checkpoint is written before the first goes
    assert second == (left + 6_000_000 + measured, left + 6_000_000 + 2 * full + 2 * last)


# --- memory


def test_memory_by_hand(small):
    recipe = toy_recipe(batch_size=64, optimizer={"name": "adamw"}, elr={"top_k": 10})
    stage = recipe.stages[0]
    host = host_memory(recipe, stage, counts_of(recipe, stage, 1000, 10, 2), 1000, 4)
    p, w = 4 * small.parameters, 4 * small.weights
    device = [w, p, 2 * p + 8 * small.trained_tensors, p, w]
    assert list(device_memory(stage, small).values()) == [*device, sum(device)]
    always, images = 4 + 4 + 6 * 3, 3 * 224**2 * 6 * (32 + 64)  # four batches ahead, one filled, one in use
    total = 1000 * (always + 8) + images
    assert list(host.values()) == [1000 * always + 1000 * 4 // 2, 1000 * (always + 8), images, total, 4 * total]
    recipe = toy_recipe(batch_size=64, sop={"top_k": 2})
    host = host_memory(recipe, recipe.stages[0], counts_of(recipe, recipe.stages[0], 1000, 10, 2), 1000, 4)
    assert host["rows, at most"] == 1000 * (4 + 4 + 4 + 8 * 2 + 8)
    recipe = toy_recipe(batch_size=64, dividemix={"views": 3})
    host = host_memory(recipe, recipe.stages[0], counts_of(recipe, recipe.stages[0], 1000, 10, 2), 1000, 4)
    assert host["rows, at most"] == 1000 * (4 + 4 + 8 + 8)
    assert host["images ahead"] == 3 * 224**2 * 6 * (3 * 32 + 64)
    device = list(device_memory(recipe.stages[0], small).values())
    alone = list(device_memory(toy_recipe(batch_size=64).stages[0], small).values())
    assert device == [2 * part for part in alone]


# --- counts


def test_counts_are_those_of_the_training(run):
    _, _, stages, home = run
    for name, stage in stages.items():
        state = json.loads((home / name / "final/state.json").read_text())
        assert stage.counts.steps == state["total_steps"] == state["step"]
        assert stage.counts.epochs == pytest.approx(state["epoch"])
        log = (home / name / "log.txt").read_text()
        assert stage.counts.evaluations == len(re.findall("top1", log)), log


@pytest.mark.parametrize("rows", [5, 9, 61, 64, 200])
@pytest.mark.parametrize("size", [0, 3])
def test_images_drawn_by_brute_force(rows, size):
    bags = {"bags": {"size": size}} if size else {}
    recipe = toy_recipe(batch_size=12, ema={"bn_batches": 4}, accumulate=2, **bags)
    stage = recipe.stages[0]
    counts = counts_of(recipe, stage, rows, 10, 1)
    job = dataclasses.replace(job_of(recipe, stage, rows), table=types.SimpleNamespace(path=str))
    shown = [batch for epoch in range(2) for batch in job.sampler.batches(epoch, 12)]
    assert counts.steps == len(shown)
    assert counts.images_drawn == sum(map(len, shown))
    assert counts.bn_images == sum(len(rows) for _, rows in job.bn_loader(4).batches)


@pytest.mark.parametrize("n_processes", [1, 2, 3, 8, 300])
@pytest.mark.parametrize("n", [16_076_665, 65_536 * 9, 1])
def test_the_busiest_process_by_brute_force(n, n_processes):
    about = Description("", "", n, 2048, 20, 256)
    rows = [0] * n_processes
    for number in range(about.n_shards):
        rows[number % n_processes] += len(about.rows(number))
    assert busiest(n, about.shard, n_processes) == max(rows)


# --- the command


def call(capsys, *arguments):
    try:
        code = cli.run(plan.main, [str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse refuses
        code = ended.code
    return code, *capsys.readouterr()


def test_webvision_on_eight_processes_and_on_thirty_two(capsys, tmp_path):
    common = ("-c", WEBVISION, "--rows", 16_000_000, "--evaluation-images", 294_099, "--images-per-second", 250)
    trees = []
    for machines in (4, 1):
        file = tmp_path / f"{machines}.json"
        code, text, _ = call(capsys, *common, "--processes", 8, "--machines", machines, "--json", file)
        assert code == 0
        trees.append(json.loads(file.read_text()))
    four, one = trees
    assert one["network"]["parameters"] == 96_987_336
    counts, hours = one["stages"][0]["counts"], one["stages"][0]["hours"]
    assert counts["steps"] == 20 * (16_000_000 // 1024) == 312_500
    assert (counts["images_drawn"], counts["bn_images"]) == (320_000_000, 100 * 256)
    assert hours["training"] == pytest.approx(320e6 / 2000 / 3600)
    # 1,149 and 100 batches of 256 images, 245 shards among 8 processes
    assert hours["evaluation"] == pytest.approx(20 * (144 + 13) * 256 / 750 / 3600)
    assert one["stages"][1]["hours"]["measuring"] == pytest.approx(31 * 65_536 / 750 / 3600)
    for a, b in zip(one["stages"], four["stages"], strict=True):
        same = set(a["counts"]) - {"rows_a_process", "micro_batch", "measured_by_busiest", "evaluated_by_busiest"}
        assert {key: a["counts"][key] for key in same} == {key: b["counts"][key] for key in same}
        assert a["counts"]["rows_a_process"] == 4 * b["counts"]["rows_a_process"] == 128
        assert a["hours"]["training"] == pytest.approx(4 * b["hours"]["training"])
        assert a["files"] == b["files"]
    assert re.search(r"class +20 +312,500 +1,024 +128 +128 +15,625 +cosine, 0\.4 to 0\n", text)
    assert re.search(r"features\.npy +float16 x 2048", text)


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
    file, _, _, home = run
    code, out, _ = call(capsys, "-c", file, "--no-files")
    assert code == 0
    for text in (f"61 (in {home}/table)", "12 images (listed)"):
        assert text in out
    assert "Hours" not in out and "No hours, as no rate is known. --measure times 20 steps here" in out
    assert "Files under" not in out
    shown = size((home / "table/base.arrow").stat().st_size)
    _, out, _ = call(capsys, "-c", file)
    assert re.search(rf"table/base\.arrow +as it is +{re.escape(shown)}", out)


PARTS = (
    {"name": "one", "train": "classifier", "views": 2, "finetune": True},
    {"name": "two", "train": "classifier", "reweight": {"method": "instance", "evidence": EVIDENCE}},
    {"name": "three", "train": "top", "optimizer": {"name": "adamw"}, "ema": {}},
    {"name": "four", "reweight": {"method": "cluster", "evidence": EVIDENCE}, "measure": {"network": "previous"}},
)


def test_parts_of_a_network_are_counted_and_timed(run, tmp_path):
    """What frozen parts make of the images: how much of it, its bytes beside those of a run, and that it takes time."""
    _, _, _, home = run
    write_images(tmp_path)
    start = {"start": str(home / "class/final"), "measure": {**KEEP, "keep": False}}
    stages = [{**SHORT, **start, **PARTS[0]}, *({**SHORT, **part} for part in PARTS[1:])]
    recipe_of(tmp_path, tmp_path, stages=stages)
    file = tmp_path / "stages.yaml"
    recipe = load_recipe(file, ["stages.class.enabled=false"])
    planned = make_plan(plan.parser().parse_args(["-c", str(file)]), recipe)
    counted = {stage.name: stage.counts.kept_images for stage in planned.stages}
    assert counted == {"one": {"features": ROWS + 12 + ROWS}, "two": {}, "three": {"front": ROWS + 12}, "four": {}}
    assert [stage.counts.measured_rows for stage in planned.stages] == [0, 0, 0, ROWS]
    measured = measure(recipe, 1, steps=2)
    assert not (tmp_path / "out").exists()
    assert set(measured.timed.keeping) == {"features", "front"} and set(measured.timed.measuring) == {"four"}
    hours = [forecast(s.name, s.counts, recipe, measured.timed, 1)["measuring"] for s in planned.stages]
    assert [value > 0 for value in hours] == [True, False, True, True]

    train(recipe)
    kept = {item.path: item.bytes for stage in planned.stages for item in of_kind(stage, "kept")}
    for path, n_bytes in kept.items():
        files = list((tmp_path / "out/tiny").glob(path))
        headers = sum(file.read_bytes().index(b"}\n") + 2 for file in files)
        assert sum(file.stat().st_size for file in files) - headers == n_bytes
    for stage in planned.stages:
        assert parts_of(stage, "checkpoint") == files_in(next((tmp_path / "out/tiny" / stage.name).glob("step-*")))


def parts_of(stage, kind):
    return {Path(item.path).name: item.bytes for item in of_kind(stage, kind)}


def files_in(folder):
    return {file.name: file.stat().st_size - header_of(file) for file in folder.glob("*.safetensors")}


def test_what_was_timed_is_printed_and_written(capsys, run, tmp_path, monkeypatch):
    """Four kinds of stage: mixup and accumulation, bags, soft targets and a memory, two networks."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    file, _, _, home = run
    off = [f"stages.{name}.enabled=false" for name in ("cluster", "instance", "curriculum", "relabel")]
    words = [word for text in off for word in ("-o", text)]
    before = sorted(home.rglob("*"))
    code, out, err = call(capsys, "-c", file, *words, "--measure", "--processes", 2, "--json", tmp_path / "plan.json")
    assert code == 0, err
    assert sorted(home.rglob("*")) == before
    assert list((tmp_path / "temporary").iterdir()) == []
    found = json.loads((tmp_path / "plan.json").read_text())
    timed = found["measured"]["timed"]
    assert [kind["stages"] for kind in timed["kinds"]] == [["class"], ["bag"], ["label"], ["pair"]]
    assert found["rows"] == {"value": ROWS, "source": f"in {home}/table"}
    assert found["training_rate"] == pytest.approx(1 / timed["kinds"][0]["step"]["seconds"])
    for stage, kind in zip(found["stages"], timed["kinds"], strict=True):
        hours, counts, step = stage["hours"], stage["counts"], kind["step"]
        assert kind["steps"] == 20 and step["images"] == 20 * counts["rows_a_process"]
        assert 0 < step["least"] <= step["seconds"] <= step["most"]
        assert hours["training"] * 3600 == pytest.approx(kind["begin"] + counts["images_drawn"] / 2 * step["seconds"])
        assert stage["range_hours"][0] <= hours["total"] <= stage["range_hours"][1]
        assert (hours["measuring"] > 0) == (stage["name"] == "label")
    assert re.search(r"^total( +[\d.]+ \w+)+$", out, re.M)
    assert re.search(
        r"^The (network|loader) is the bottleneck: .* the loader alone reaches [\d.,]+ images/s", out, re.M
    )
    assert re.search(r"cores, OMP_NUM_THREADS .*; load average [\d.]+ before, [\d.]+ after", out)
    assert "Hours" not in out.replace("No hours", "")


@pytest.mark.slow  # test_what_was_timed_is_printed_and_written is its short form
def test_every_kind_of_stage_can_be_timed(tmp_path):
    write_images(tmp_path)
    (tmp_path / "train/003.png").write_text("no picture")
    stages = [
        {"name": "gate", "gate": {"threshold": 0.9, "until": "2 steps"}, "duration": "3 steps"},
        {
            "name": "curriculum",
            "reweight": {"method": "curriculum", "pca": 4},
            "subsets": {"parts": [6, 2], "loss_weight": [1, 0.5]},
        },
        {"name": "again"},
        {"name": "adam", "optimizer": {"name": "adamw"}, "loss": {"name": "generalised"}, "ema": {}},
        {"name": "relabel", "reweight": {"method": "relabel"}, "targets": "relabel"},
    ]
    recipe = recipe_of(tmp_path, tmp_path, "data.workers=1", "data.max_bad=1", stages=[{**SHORT, **s} for s in stages])
    found = measure(recipe, 1, steps=2)
    assert [kind.stages for kind in found.timed.kinds] == [
        ("class",),
        ("gate",),
        ("curriculum", "again"),
        ("adam",),
        ("relabel",),
    ]
    assert set(found.timed.measuring) == {"curriculum", "relabel"}
    assert [kind.bn is None for kind in found.timed.kinds] == [False, True, True, False, True]
    assert found.unreadable <= found.max_bad == 1
    assert (found.rows, found.images.value) == (Given(ROWS, "listed"), 12)
    assert found.base.what == "as built to be read" and found.base.bytes > ROWS * 21
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.last.loss_weight=[mine]", "stages.last.loss_weight: the table has no column 'mine'"),
        ("stages.class.start=nowhere", "nowhere"),
        ("stages.class.duration=0.01 steps", "stages.class.duration: "),
        ("data.val_list={folder}/empty.txt", "empty.txt: lists no image"),
        ("data.n_classes=2", "label 2 is outside"),
        ("stages.class.schedule.warmup=9 epochs", "stages.class.schedule.warmup: "),
    ],
)
def test_what_training_refuses_is_not_timed(capsys, tmp_path, override, message):
    write_images(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    recipe_of(tmp_path, tmp_path)
    code, out, err = call(capsys, "-c", tmp_path / "stages.yaml", "--measure", "-o", override.format(folder=tmp_path))
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_pace_and_its_spread():
    pace = Pace.of([1, 1, 2, 2, 1, 1, 1, 1, 4, 4], [2] * 10)
    assert pace == Pace(18 / 20, 0.5, 2.0, 20)
    assert pace.text() == "1.11 (0.5 to 2)"
    assert Pace.of([3], [2]) == Pace(1.5, 1.5, 1.5, 2)
    assert shown(12345.6) == "12,300"
    # asked at 10, batches there at 13, 18, 20 and 22, done at 23; the first is not counted, the last is short
    found = timed_pass(10, [13, 18, 20, 22], 23, [4, 4, 4, 2])
    assert found == Pass(3, Pace(0.5, 0.5, 0.5, 10))
    assert found.seconds(100) == 53 and found.seconds(0) == 0
    assert timed_pass(0, [1], 3, [4]) == Pass(1, Pace(0.5, 0.5, 0.5, 4))


def test_a_forecast_is_the_sum_of_its_parts():
    recipe = toy_recipe()
    stage, counts = recipe.stages[1], counts_of(recipe, recipe.stages[1], 1000, 10, 1)
    step, view, bn, seen = (Pass(b, Pace(s, s / 2, 2 * s, 9)) for b, s in ((0, 1), (2, 3), (4, 5), (6, 7)))
    kind = Timed(("two",), 20, step.pace, 0.0, 1.0, 100.0, bn, view, 8.0, 9.0, 0)
    timed = Rehearsal((kind,), {"two": seen}, {}, step.pace)
    found = {name: 3600 * hours for name, hours in forecast(stage.name, counts, recipe, timed, 1).items()}
    assert (counts.images_drawn, counts.evaluations, counts.bn_images) == (30 * 64, 2, 15 * 64)
    assert found == {
        "training": pytest.approx(100 + 30 * 64),
        "evaluation": pytest.approx(2 * (2 + 10 * 3 + 4 + 15 * 64 * 5) + 2 * (2 + (60 + 10) * 3)),
        "measuring": pytest.approx(6 + 1000 * 7),
        "saving": pytest.approx(0 * 8 + 3 * 9),
        "total": pytest.approx(sum(value for name, value in found.items() if name != "total")),
    }
    least = forecast(stage.name, counts, recipe, timed, 1, "least")
    assert 3600 * least["training"] == pytest.approx(100 + 30 * 64 / 2)
    fixed = with_evaluation_rate(timed, 10)
    assert 3600 * forecast(stage.name, counts, recipe, fixed, 1)["measuring"] == pytest.approx(100)


def test_what_holds_a_training_up():
    pace = Pace(0.1, 0.1, 0.1, 1)

    def said(waits):
        kind = Timed(("a",), 20, pace, waits, 1.0, 0.0, None, Pass(0, pace), 0.0, 0.0, 0)
        none = Given(0, "")
        timed = Rehearsal((kind,), {}, {}, pace)
        return bottleneck(Measured(none, none, Artefact("base", "", "", 0), timed, {}, (), 0))

    assert said(0.05).startswith(
        "The network is the bottleneck: it waits for images for 5.0% of the time; the loader alone"
    )
    assert said(0.5).startswith("The loader is the bottleneck: the network waits for images for 50.0% of the time")
    assert said(0.5).endswith("More data.workers, or smaller image files, would help.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0.0 s"),
        (9.95, "9.9 s"),
        (59.6, "60 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (200_000, "2 d 8 h"),
    ],
)
def test_times_are_in_two_units(seconds, text):
    assert duration(seconds) == text


def test_images_in_folders_are_counted(tmp_path):
    write_images(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    for i, file in enumerate(sorted((tmp_path / "train").iterdir())[:5]):
        file.rename(tmp_path / "tree" / ("one", "two")[i % 2] / file.name)
    assert listed_rows(Data(root=str(tmp_path / "tree"), n_classes=2, format="folder")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--processes 3", "a multiple of 3 is accepted, as it is divided among 3 processes x accumulate 1"),
        ("--processes 256 --machines 2", "divided among 512 processes x accumulate 1 x bags.size 4"),
        ("--rows 1000 --processes 8", "stages.class.batch_size: found 1024, but there are 1000"),
        ("--rows 0", "--rows: found 0; 1 or more is accepted"),
        ("--images-per-second nan", "--images-per-second: found nan; more than 0 is accepted"),
        ("--text-bytes -1", "--text-bytes: found -1; 0 or more is accepted"),
        ("--measure --images-per-second 9", "--images-per-second: not allowed with argument --measure"),
        ("--measure", "data.root:"),
        ("-o data.format=webvision1", "--rows: give it, as the images cannot be counted here"),
        ("-o data.format=webvision1 --rows 9", "--evaluation-images: give it"),
        ("-o model.name=ResNet5", "model.name: 'ResNet5' is not known; nearest: ResNet50"),
        ("-o transform.size=16 -o model.name=DenseNet121", "DenseNet121 takes 29 or more"),
    ],
)
def test_one_line_for_what_is_refused(capsys, words, message):
    code, out, err = call(capsys, "-c", WEBVISION, *words.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_sizes_have_units():
    sizes = {0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 3 * 2**19: "1.50 MiB", 5 * 2**40: "5,120.00 GiB"}
    assert {n: size(n) for n in sizes} == sizes


# --- can the cores decode what the processes take


def test_cores_that_decode_too_little_are_said_with_what_is_left_of_the_rate():
    rates = {"training": 5723.0, "evaluation": 14_000.0}
    lines = list(feeding_lines(Feeding(16, 8, dict.fromkeys(rates, 906.0), rates, "--views-per-core")))
    assert [line.split() for line in lines[1:3]] == [
        ["training", "906", "14,496", "45,784", "50.5"],
        ["evaluation", "906", "14,496", "112,000", "123.6"],
    ]
    assert lines[4].startswith(
        "The cores cannot feed the training: at most 1,812 images/s per process are decoded, 32% of"
    )
    assert "at least 3.16 times as many" in lines[4]


def test_the_page_shows_what_is_said_of_cores():
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    rates = {"training": 2874.0, "evaluation": 8622.0}
    found = Feeding(16, 8, dict.fromkeys(rates, 906.0), rates, "--views-per-core")
    assert "```\n" + "\n".join(feeding_lines(found)) + "\n```" in page


def test_cores_and_views_a_core_are_given(capsys, tmp_path):
    write_images(tmp_path)
    recipe_of(tmp_path, tmp_path)
    words = ("--processes", 2, "--images-per-second", 100, "--cores", 1, "--views-per-core", 50, "--no-files")
    code, out, _ = call(capsys, "-c", tmp_path / "stages.yaml", *words)
    assert code == 0
    assert "The cores cannot feed the training: at most 25 images/s per process are decoded, 25% of 100" in out


def test_cores_are_not_asked_for_what_the_cards_decode():
    rates = {"training": 5723.0, "evaluation": 900.0}
    lines = list(feeding_lines(Feeding(16, 8, dict.fromkeys(rates, 906.0), rates, "--views-per-core", on_card=True)))
    assert len(lines) == 5 and lines[4].startswith("With data.decoder: dali the GPUs decode the JPEG files")


def test_cores_that_are_enough_are_said_with_the_workers_it_takes():
    rates = {"training": 2874.0, "evaluation": 7600.0}
    said = [*feeding_lines(Feeding(16, 2, dict.fromkeys(rates, 906.0), rates, "")), ""]
    assert said[4:] == [
        "The cores can feed the training if 40% of them decode: data.workers=4 or more per process.",
        "",
    ]
    close = list(feeding_lines(Feeding(8, 2, dict.fromkeys(rates, 906.0), rates, "")))
    assert close[-1].startswith("That is close")


def test_one_core_is_timed_on_the_recipes_images_else_on_photographs(tmp_path):
    write_images(tmp_path)
    recipe, rates = recipe_of(tmp_path, tmp_path), {"training": 1.0, "evaluation": 3.0}
    found = feeding(recipe, 2, 1, rates, None)
    assert found.images.startswith("the recipe's first ")
    assert found.one_core.keys() == rates.keys()
    assert min(found.one_core.values()) > 0
    away = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, root=str(tmp_path / "away")))
    assert "photographs of 500 x 375 pixels" in feeding(away, 2, 1, rates, None).images
    for file in Path(recipe.data.root).rglob("*.*"):
        if file.suffix in (".png", ".jpg"):
            file.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"--cores: none of \d+ images can be read"):
        feeding(recipe, 2, 1, rates, None)


@pytest.mark.parametrize(
    ("words", "why"), [(["--cores", "2"], "--cores: needs"), (["--views-per-core", "9"], "needs --cores")]
)
def test_cores_need_a_rate_and_views_a_core_need_cores(tmp_path, words, why):
    write_images(tmp_path)
    recipe = recipe_of(tmp_path, tmp_path)
    with pytest.raises(InputError, match=why):
        make_plan(plan.parser().parse_args(["-c", "x.yaml", *words]), recipe)

"""tools/speed: the table of figures, taking turns, and each sub-command at a size of no cost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn

import models
from tools import machine
from tools.speed import __main__ as bench
from tools.speed import cluster, data, launched, networks, step, suspects, table, timing, train
from tools.speed.figures import Figure, number, print_table
from tools.speed.photographs import write_photographs
from urnet.config.recipe import Transform
from urnet.core import cli, cpus
from urnet.core.checks import InputError
from urnet.data.loading.loader import Loader
from urnet.data.table.table import Table
from urnet.report.columns import Columns
from urnet.report.run_evidence import label_evidence

ROOT = Path(__file__).parents[2]


def measured(module, *words):
    """The figures of a sub-command with these arguments."""
    parser = cli.Parser()
    module.add_arguments(parser)
    return module.measure(parser.parse_args(words))


# --- figures and time


def test_the_table_shows_value_limit_and_ratio(capsys):
    print_table(
        [
            Figure("loop", 190.0, "images/s", 200.0, "bare loop"),
            Figure("build", 0.01234, "s"),
            Figure("rows", 1234567.0, "rows/s", 2_000_000.0, "plain arrays"),
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "figure      value  unit          limit  ratio  limit is",
        "loop          190  images/s        200   0.95  bare loop",
        "build      0.0123  s",
        "rows    1,234,567  rows/s    2,000,000   0.62  plain arrays",
    ]


def test_numbers_keep_three_digits():
    texts = {None: "", 0: "0", 0.001234: "0.00123", 9.876: "9.88", 98.76: "98.8", 98765.4: "98,765"}
    assert {value: number(value) for value in texts} == texts


def test_works_take_turns_and_a_limit_counts_before_and_after():
    seen = []

    def work(name, seconds):
        return lambda: seen.append(name) or next(seconds)

    works = {"a": work("a", iter([1.0, 2.0])), "b": work("b", iter([3.0, 4.0]))}
    found = timing.take_turns(works, 2, {"limit": work("limit", iter([10.0, 20.0, 40.0]))})
    assert found == {"limit": [15.0, 30.0], "a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert seen == ["limit", "a", "b", "limit", "a", "b", "limit"]


def test_the_median_round_counts_and_the_first_calls_do_not():
    assert timing.per_second(10, [1.0, 5.0, 2.0]) == 5.0
    calls = []
    assert networks.seconds_a_call(lambda: calls.append(1), 1e-9)() >= 0
    assert len(calls) == 3
    assert timing.timed(calls.append, 1, times=3)() >= 0
    assert len(calls) == 6


def test_launches_count_for_the_innermost_part():
    layer = nn.Linear(2, 2)
    x = paddle.ones([1, 2])

    class Work:
        def inner(self):
            return layer(x)  # a product and a sum

        def outer(self):
            return self.inner() + self.inner()

    work = Work()
    with launched.as_parts((work, "outer", "outer"), (work, "inner", "inner")):
        found = launched.launches_of(lambda: work.outer() * 2)
    assert {name: part.launches for name, part in found.items()} == {"inner": 4, "outer": 1, "rest": 1}
    assert all(part.seconds >= 0 for part in found.values()) and not vars(work)


def test_the_host_s_own_work_is_a_few_dozen_operations_for_any_number_of_parameters():
    """701 operations are the forward and backward pass of 101 layers (docs/scaling.md); here the least network does."""
    words = "--model", "ResNet8_small32", "--classes", "10", "--steps", "1"
    found = {(figure.name, figure.unit): figure for figure in measured(step, *words)}
    assert 40 < found["all but forward and backward", "launches"].value < 70
    for part, most in (("moving average", 6), ("clipping", 12), ("optimiser", 4), ("gradients to vectors", 2)):
        assert 0 < found[part, "launches"].value <= most, part


# --- the command


def test_a_sub_command_measures_prints_and_writes(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "f.json"
    words = ["density", "--rows", "300", "--width", "8", "--rounds", "1", "--json", str(file)]
    assert bench.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine: processor ")
    names = ["count, 300 x 8", "gaussian, 300 x 8", "count, its own process", "peak memory of that process"]
    assert [line.split("  ")[0] for line in lines[2:]] == [f"density: {name}" for name in names]
    tree = json.loads(file.read_text())
    assert tree["machine"] == machine.describe()
    assert [figure["name"] for figure in tree["figures"]] == [f"density: {name}" for name in names]
    assert [figure["unit"] for figure in tree["figures"]] == ["rows/s", "rows/s", "s", "MiB"]
    assert set(tree["figures"][0]) == {"name", "value", "unit", "limit", "limit_name", "ratio"}
    assert tree["figures"][3]["value"] > 20


def test_the_speed_of_ensembles_is_of_every_method(capsys):
    words = ["ensemble", "--members", "2", "--images", "40", "--topk", "6", "--classes", "20", "--rounds", "1"]
    assert bench.main(words) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    names = ["mean", "weighted", "geometric", "vote_prob", "vote", "mean with --list"]
    assert [line.split("  ")[0] for line in lines] == [f"ensemble: {name}, 2 members, top-6 of 20" for name in names]
    assert all(line.endswith("plain sum of the files") for line in lines)


def test_help_and_usage_can_be_followed(tmp_path):
    def call(*words, script="tools/bench.py"):
        command = [sys.executable, str(ROOT / script), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **path})

    path = {"PYTHONPATH": str(ROOT)}
    helped, bare, wrong = call("--help"), call(), call("speed")
    assert (helped.returncode, bare.returncode, wrong.returncode) == (0, 2, 2)
    assert helped.stdout == bare.stderr
    assert all(name in helped.stdout for name in bench.COMMANDS)
    assert wrong.stderr.count("\n") == 1
    assert "choose from" in wrong.stderr
    path["PYTHONPATH"] = ""
    assert call(script="urnet/core/cpus.py").stdout == f"{cpus.usable_cores()}\n"  # nothing is installed yet


def test_every_sub_command_has_its_arguments():
    for name in bench.COMMANDS:
        assert callable(bench.make_parser([name]).parse_args([name, "--json", "F"]).measure)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data --workers 1 0", "1 or more is"),
        ("density --rows 9", "argument --rows: found 9; 10 or more is accepted"),
        ("depthwise --network ResNet18", "--network: 'ResNet18' is not known; nearest: EfficientNetLite0"),
        ("depthwise --from_unit 16", "--from_unit: 16 of EfficientNetLite0; 1 to 15 of EfficientNetLite0 are accepted"),
        ("networks --seconds nan", "found nan; more than 0 is accepted"),
        ("networks --networks DPN29", "--networks: 'DPN29' is not known; nearest: DPN92"),
        ("networks --networks InceptionV3 --size 32", "InceptionV3 takes 75 or more"),
        ("cluster --sizes 10000 10000", "two or more sizes are accepted"),
        ("cluster --sizes 10 20000", "10000 or more is"),
        ("table --rows x", "invalid number value: 'x'"),
        ("infer --workers -1", "0 or more is"),
    ],
)
def test_nothing_to_measure_is_one_line(words, message, capsys):
    try:
        code = cli.run(bench.main, words.split())
    except SystemExit as ended:
        code = ended.code
    err = capsys.readouterr().err
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


# --- the sub-commands


def test_every_pipeline_of_images_is_measured_beside_its_limit():
    threads = cv2.getNumThreads()
    try:
        figures = measured(data, "--images", "4", "--large", "2", "--rounds", "1", "--workers", "1")
    finally:
        cv2.setNumThreads(threads)
    names = ["train", "train with jitter", "eval straight", "eval short", "train 32 pad-crop"]
    names += ["train, TrivialAugment and erasing", "train 32, TrivialAugment and erasing", "train 2000 x 1500"]
    expected = [*(f"{name}, one core" for name in names), "loader, thread"]
    both = ("", ", tensors", ", tensors of 32 pixels")
    expected += [f"loader, 1 processes{what}" for what in both]
    assert [figure.name.removeprefix("data: ") for figure in figures] == expected
    assert all(figure.value > 0 and figure.limit > 0 and figure.limit_name for figure in figures)
    expected += [f"loader, 2 processes{what}" for what in ("", *both)]
    assert [name for name, *_ in data.comparisons([1, 2])] == expected


def test_paddles_loader_makes_the_same_batches_and_only_what_is_asked_for_is_measured(tmp_path):
    files = write_photographs(tmp_path, 5, (32, 32))
    source, jobs = data.source_of(files, Transform(size=32, train="pad_crop")), data.jobs_of(files)
    dataset = data.PaddleRows(source, len(files))
    for (draw, rows), batch in zip(jobs, Loader(source, jobs), strict=True):
        assert np.array_equal(np.stack([dataset[draw, int(row)] for row in rows]), batch.images)
    with pytest.raises(
        InputError, match="--only 'cows': no figure's name contains it; the names are 'train, one core', "
    ):
        measured(data, "--images", "4", "--only", "cows")


def test_the_training_loop_is_measured_beside_a_bare_one():
    speed, waiting = measured(train, "--model", "ResNet8_small32", "--batch_size", "4", "--steps", "1", "--turns", "2")
    assert (speed.name, speed.limit_name) == ("train ResNet8_small32, batch 4, 32 pixels", "bare loop, data in memory")
    assert speed.value > 0 and speed.limit > 0
    assert (waiting.name, waiting.unit) == ("time spent waiting for data", "%")
    assert 0 <= waiting.value <= 100


def test_cluster_figures_follow_a_power_law():
    sizes = [10_000, 40_000]
    figures = cluster.figures_of(sizes, [(n / 1000) ** 1.5 for n in sizes])
    assert figures[0].value == pytest.approx(10_000 / 10**1.5)
    assert figures[-2].value == pytest.approx(1.5)
    assert figures[-1].value == pytest.approx(16_000**1.5 / 3600)
    features, labels, prob, n_classes = cluster.make_data(10_000, 2)
    assert (len(features), n_classes) == (len(labels), 3) == (len(prob), 3)
    assert abs(len(labels) - 10_000) <= 3


# --- networks


class Small(nn.Layer):
    """Every kind of layer that is counted, one of them called twice, and some that are not counted."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(8)
        self.twice = nn.Conv2D(8, 8, (1, 3), padding=(0, 1), groups=4)
        self.rows = nn.Linear(8, 6)
        self.auxiliary = nn.Linear(6, 9)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.twice(self.twice(self.norm(self.first(x))))
        x = self.rows(x.flatten(2).transpose([0, 2, 1])).mean(axis=1)
        return (self.fc(x), self.auxiliary(x)) if self.training else self.fc(x)


def test_multiply_adds_of_a_small_network_counted_by_hand():
    network = Small()
    first = 4 * 4 * 8 * (3 * 3 * 3)  # 8 pixels with stride 2: 4 x 4 places, 8 channels, 27 products each
    twice = 2 * 4 * 4 * 8 * (2 * 1 * 3)  # two inputs a group, a kernel of 1 x 3, called two times
    rows = 16 * 8 * 6  # at each of 16 places
    assert networks.multiply_adds(network, 8) == first + twice + rows + 6 * 5 == 5790
    assert network.training  # as it was: the auxiliary head was left out
    assert networks.multiply_adds(network, 16) == 4 * (first + twice + rows) + 6 * 5
    assert round(networks.multiply_adds(models.build("ResNet50", 1000), 224) / 1e9, 2) == 4.09  # well known
    with pytest.raises(InputError, match="layer '1': found Conv2DTranspose; only Conv2D and Linear"):
        networks.multiply_adds(nn.Sequential(nn.Conv2D(3, 4, 1), nn.Conv2DTranspose(4, 4, 2)), 8)


def test_one_small_network_from_end_to_end():
    figures = measured(networks, "--networks", "ResNet8_small32, ResNet8_small32", "--seconds", "0.01")
    network = models.build("ResNet8_small32", 1000)
    parameters = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    assert [figure.unit for figure in figures] == ["million", "values", "GFLOPs", "images/s"]
    work = networks.multiply_adds(network, 32)
    assert [figure.value for figure in figures[:3]] == [parameters / 1e6, 128, work / 1e9]
    assert figures[3].name == "ResNet8_small32 at 32"
    assert figures[3].limit > 0
    assert [networks.usual_size(name) for name in ("ResNet50", "InceptionV4")] == [224, 299]


# --- the table of images


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_table_is_measured_from_lists_to_report(tmp_path):
    figures = table.measure_in(tmp_path, 20_000, 12)
    assert all(figure.value > 0 for figure in figures if figure.unit != "MB")
    columns = Columns(Table.open(tmp_path / "table"))
    for plain in ("class_weight", "cluster_weight", "cluster", "relevance", "confidence", "suggested", "keep"):
        assert columns.get(plain) is not None, plain
    evidence = label_evidence(columns)
    assert evidence.source == "part of its training target"
    suspects = evidence.counts()["wrong label"]
    share = table.WRONG * (1 - 1 / 12)  # a random class may be the given one
    assert suspects == pytest.approx(share * len(evidence.verdict), rel=0.05)
    assert {figure.name: figure.limit for figure in figures if figure.limit_name == table.MOST} == {
        "lists and metadata to base.arrow": 90,
        "peak memory of that": 2000,  # the last of three
        "these four together": 10,
        "opening the table with all columns": 1,
        "memory of its own that a process has from it": 100,
        "a rank's first weighted, balanced batch": 5,
        "the same from the middle of an epoch": 5,
        f"report and list of {suspects / 1e6:.2f} M suspects": 60,
    }


# --- the machine


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "9900000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({}, 8),
    ],
)
def test_a_containers_quota_limits_the_cores(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert cpus.usable_cores(tmp_path) == expected


def test_the_description_names_what_a_reader_needs(monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    about = machine.describe()
    assert about["cores in use"] == str(cpus.usable_cores())
    assert about["OMP_NUM_THREADS"] == "unset"
    assert about["Python"] == ".".join(map(str, sys.version_info[:3]))
    import paddle

    assert about["Paddle"].split()[0] == paddle.__version__
    assert about["OpenCV"].startswith(cv2.__version__)
    assert machine.main(["--cores"]) == 0
    assert capsys.readouterr().out == f"{cpus.usable_cores()}\n"


def test_features_of_photographs_beside_the_bare_engine():
    words = ("--model", "ResNet8_small32", "--images", "4", "--batch_size", "4", "--rounds", "1")
    stream, again = measured(suspects, *words)
    assert (stream.limit_name, again.unit) == ("bare engine, one prepared batch", "s")
    assert stream.value > 0 and stream.limit > 0 and again.limit > 0

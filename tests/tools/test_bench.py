"""tools/speed: the table of figures, taking turns, and each sub-command at a size of no cost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from paddle import nn

import models
from tools import machine
from tools.speed import __main__ as bench
from tools.speed import cluster, data, density, networks, table, table_steps, timing, train
from tools.speed.figures import Figure, Times, number, print_table, rate
from tools.speed.photographs import write_photographs
from urnet.core import cli, cpus
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.report.columns import Columns
from urnet.report.suspects import label_evidence

ROOT = Path(__file__).parents[2]
FIGURES = [
    Figure("loop", 190.0, "images/s", 200.0, "bare loop"),
    Figure("build", 0.01234, "s"),
    Figure("rows", 1234567.0, "rows/s", 2_000_000.0, "plain arrays"),
]


def measured(module, *words, **more):
    """The figures of a sub-command with these arguments."""
    parser = cli.Parser()
    module.add_arguments(parser)
    return module.measure(parser.parse_args(words), **more)


# --- figures and time


def test_the_table_shows_value_limit_and_ratio(capsys):
    print_table(FIGURES)
    assert capsys.readouterr().out.splitlines() == [
        "figure      value  unit          limit  ratio  limit is",
        "loop          190  images/s        200   0.95  bare loop",
        "build      0.0123  s",
        "rows    1,234,567  rows/s    2,000,000   0.62  plain arrays",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (0.001234, "0.00123"), (9.876, "9.88"), (98.76, "98.8"), (98765.4, "98,765")],
)
def test_numbers_keep_three_digits(value, text):
    assert number(value) == text


def test_a_rate_is_that_of_the_median_round_or_of_the_chosen_one():
    figure = rate("a", "images/s", Times(10, [1.0, 5.0, 2.0]), Times(12, [3.0, 1.0, 2.0], min), "best")
    assert figure == Figure("a", 5.0, "images/s", 12.0, "best")
    assert figure.ratio == pytest.approx(5 / 12)
    assert [figure.ratio for figure in (Figure("a", 1, "s"), Figure("a", 1, "s", 0.0))] == [None, None]


def test_works_take_turns_and_a_limit_counts_before_and_after():
    seen = []

    def work(name, seconds):
        return lambda: seen.append(name) or next(seconds)

    works = {"a": work("a", iter([1.0, 2.0])), "b": work("b", iter([3.0, 4.0]))}
    found = timing.take_turns(works, 2, {"limit": work("limit", iter([10.0, 20.0, 40.0]))})
    assert found == {"limit": [15.0, 30.0], "a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert seen == ["limit", "a", "b", "limit", "a", "b", "limit"]


def test_a_first_call_prepares_and_does_not_count():
    calls = []
    assert timing.per_call(lambda: calls.append(1), 0.0)() >= 0
    assert len(calls) == 2
    assert timing.timed(calls.append, 1, times=3)() >= 0
    assert len(calls) == 5


# --- the command


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules measure nothing: each has one argument and one figure."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    folder = tmp_path / f"measuring{id(tmp_path)}"
    folder.mkdir()
    for name in bench.COMMANDS:
        (folder / f"{name}.py").write_text(
            "from tools.speed.figures import Figure\n"
            "def add_arguments(parser): parser.add_argument('--size', type=int, default=3)\n"
            f"def measure(args): return [Figure('{name}', args.size, 's', 4.0, 'best')]\n"
        )
    return folder.name


def test_a_sub_command_measures_prints_and_writes(package, capsys, tmp_path):
    assert bench.main(["data", "--size", "2", "--json", str(tmp_path / "f.json")], package) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine: processor ")
    assert [line.split() for line in lines[2:]] == [["data", "2.00", "s", "4.00", "0.50", "best"]]
    tree = json.loads((tmp_path / "f.json").read_text())
    assert tree["machine"] == machine.describe()
    figure = {"name": "data", "value": 2, "unit": "s", "limit": 4.0, "limit_name": "best", "ratio": 0.5}
    assert tree["figures"] == [figure]


def test_all_measures_everything_with_its_defaults(package, capsys):
    assert bench.main(["all"], package) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [[name, "3.00"] for name in bench.COMMANDS]


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


@pytest.mark.parametrize("name", bench.COMMANDS)
def test_every_sub_command_has_its_arguments(name, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main([name, "--help"])
    assert ended.value.code == 0
    assert "--json FILE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        *((data, (flag, "0"), "1 or more") for flag in ("--images", "--large", "--rounds", "--workers")),
        *((density, (flag, "0"), "1 or more") for flag in ("--rows", "--width", "--rounds")),
        *((networks, (flag, "0"), "above 0 each") for flag in ("--seconds", "--size")),
        (networks, ("--networks", "DPN29"), r"--networks: 'DPN29' is not known; nearest: .*DPN92"),
        (cluster, ("--sizes", "10000", "10000"), "two sizes of 10000 or more"),
        (cluster, ("--sizes", "10", "20000"), "two sizes of 10000 or more"),
        (cluster, ("--width", "0"), "1 or more, are accepted"),
        (table, ("--rows", "0"), "1 or more each"),
    ],
)
def test_nothing_to_measure_is_bad_input(module, words, message):
    with pytest.raises(InputError, match=message):
        measured(module, *words)


# --- the sub-commands


def test_the_photographs_differ_and_have_the_stated_size(tmp_path):
    images = [cv2.imread(str(file)) for file in write_photographs(tmp_path, 4)]
    assert all(image.shape == (375, 500, 3) for image in images)
    assert len({image.tobytes() for image in images}) == 4
    (large,) = write_photographs(tmp_path / "large", 1, scale=4)
    assert cv2.imread(str(large)).shape == (1500, 2000, 3)


def test_every_pipeline_of_images_is_measured_beside_its_limit():
    threads = cv2.getNumThreads()
    try:
        figures = measured(data, "--images", "4", "--large", "2", "--rounds", "1", "--workers", "1", "2")
    finally:
        cv2.setNumThreads(threads)
    assert [figure.name.removeprefix("data: ") for figure in figures] == [
        "train, one core",
        "train with jitter, one core",
        "eval straight, one core",
        "eval short, one core",
        "train 32 pad-crop, one core",
        "train 2000 x 1500, one core",
        "loader, thread",
        "loader, 1 processes",
        "loader, 2 processes",
        "loader, 2 processes",
    ]
    assert all(figure.value > 0 and figure.limit > 0 and figure.limit_name for figure in figures)


def test_the_training_loop_is_measured_beside_a_bare_one():
    speed, waiting = measured(train, "--model", "ResNet8_small32", "--batch_size", "4", "--steps", "1", "--turns", "2")
    assert (speed.name, speed.limit_name) == ("train ResNet8_small32, batch 4, 32 pixels", "bare loop, data in memory")
    assert speed.value > 0 and speed.limit > 0
    assert (waiting.name, waiting.unit) == ("time spent waiting for data", "%")
    assert 0 <= waiting.value <= 100


def test_both_densities_are_measured_beside_the_literal_ones():
    words = ("--rows", "300", "--width", "8", "--rounds", "1")
    figures = measured(density, *words)
    assert [(figure.name, figure.limit is not None) for figure in figures] == [
        ("density: count, 300 x 8", True),
        ("density: gaussian, 300 x 8", True),
        ("density: count, its own process", False),
        ("density: peak memory of that process", False),
    ]
    assert all(figure.value > 0 for figure in figures)
    assert figures[3].value > 20
    figures = measured(density, *words, literal_rows=299)
    assert [(figure.limit, figure.limit_name) for figure in figures] == [(None, "")] * 4


def test_cluster_figures_follow_a_power_law():
    words = ("--sizes", "10000", "40000", "--width", "2")
    figures = measured(cluster, *words, seconds_of=lambda made: (len(made[0]) / 1000) ** 1.5)
    assert figures[0].value == pytest.approx(10_000 / 10**1.5, rel=0.01)
    assert figures[-2].value == pytest.approx(1.5, rel=0.01)
    assert figures[-1].value == pytest.approx(16_000**1.5 / 3600, rel=0.05)


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


def test_every_network_has_a_source_and_every_source_a_network():
    assert {networks.source(name) for name in models.NAMES} == set(networks.SOURCES.values())
    names = ("ResNet50", "InceptionV4", "ResNeXt_small32")
    assert [networks.usual_size(name) for name in names] == [224, 299, 32]
    assert networks.chosen("all") == list(models.NAMES)
    assert networks.chosen("ResNet50, DPN92,ResNet50") == ["ResNet50", "DPN92"]


def test_one_small_network_from_end_to_end(capsys, tmp_path):
    words, file = ("--networks", "ResNet8_small32", "--seconds", "0.01"), tmp_path / "table.md"
    figures = measured(networks, *words)
    network = models.build("ResNet8_small32", 1000)
    parameters = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    assert [figure.unit for figure in figures] == ["million", "values", "GFLOPs", "images/s"]
    work = networks.multiply_adds(network, 32)
    assert [figure.value for figure in figures[:3]] == [parameters / 1e6, 128, work / 1e9]
    assert figures[3].limit > 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| name | parameters | GFLOPs (pixels) | feature width | images/s here | source |"
    assert lines[2].startswith(f"| ResNet8_small32 | {parameters:,} | ")
    assert lines[2].endswith(" | ours, after He et al. 2016 |")
    measured(networks, *words, "--size", "64", "--table", str(file))
    assert capsys.readouterr().out == ""
    assert " (64) | 128 | " in file.read_text().splitlines()[2]


# --- the table of images


@pytest.fixture(scope="module")
def of_table(tmp_path_factory):
    """A folder with a table that was measured, and the figures."""
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    root = tmp_path_factory.mktemp("bench")
    return root, table.measure_in(root, 20_000, 12)


def test_the_table_is_measured_from_lists_to_report(of_table):
    root, figures = of_table
    assert len(figures) == 30
    assert all(figure.value > 0 for figure in figures if figure.unit != "MB")
    values = {figure.name: figure.value for figure in figures}
    suspects = np.count_nonzero(label_evidence(Columns(Table.open(root / "table"))).score)
    assert f"report and list of {suspects / 1e6:.2f} M suspects" in values
    assert values["memory of its own that a process has from it"] > 0
    part = next(figure for figure in figures if figure.name.startswith("a process's part of the mapped files"))
    assert part.value < 2 * part.limit  # two processes share the pages


def test_the_columns_are_those_the_report_reads_and_a_plausible_share_is_suspect(of_table):
    columns = Columns(Table.open(of_table[0] / "table"))
    for plain in ("class_weight", "cluster_weight", "cluster", "relevance", "confidence", "suggested", "keep"):
        assert columns.get(plain) is not None, plain
    evidence = label_evidence(columns)
    assert evidence.source == "topk_prob"
    share = table_steps.WRONG * (1 - 1 / 12)  # a random class may be the given one
    assert np.count_nonzero(evidence.score) == pytest.approx(share * len(evidence.score), rel=0.05)


# --- the machine


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_containers_quota_limits_the_cores(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
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

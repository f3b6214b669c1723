"""The steps of bench.py table and cluster on toys: what they tell, and that they check what they time."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest

from tools.speed import cluster, table_scale
from tools.speed import table_steps as steps
from tools.speed.table import make_lists
from urnet.core.checks import InputError
from urnet.data.sampling.epoch_sampler import EpochSampler
from urnet.data.table.table import Table
from urnet.report.columns import Columns
from urnet.report.suspects import label_evidence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
N_CLASSES = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Lists, their table, and the columns of all stages."""
    folder = tmp_path_factory.mktemp("bench")
    n = make_lists(folder, 20_000, N_CLASSES)
    built = steps.build(str(folder), str(N_CLASSES))
    made = steps.columns(str(folder / "table"), str(N_CLASSES))
    assert Table.open(folder / "table").n_rows == n
    assert {*built} == {"seconds", "seconds_cpu", "peak"}
    assert {*table_scale.COLUMNS} <= {*made}
    return folder


def test_the_columns_are_those_the_report_reads_and_a_plausible_share_is_suspect(root):
    columns = Columns(Table.open(root / "table"))
    for plain in ("class_weight", "cluster_weight", "cluster", "relevance", "confidence", "suggested", "keep"):
        assert columns.get(plain) is not None, plain
    evidence = label_evidence(columns)
    assert evidence.source == "topk_prob"
    share = steps.WRONG * (1 - 1 / N_CLASSES)  # a random class may be the given one
    assert np.count_nonzero(evidence.score) == pytest.approx(share * len(evidence.score), rel=0.05)


def test_the_order_step_tells_time_and_memory_and_compares_the_middle(root, monkeypatch):
    monkeypatch.setattr(steps, "A_RANK", 4)  # 256 rows a batch of all ranks
    for bag in ("0", "4"):
        told = steps.order(str(root / "table"), bag)
        assert {"columns", "first", "first_cpu", "middle", "peak", "kept"} <= {*told}

    def replayed(self, epoch, batch_size, start=0, rank=0, world_size=1):
        yield from honest(self, epoch, batch_size, 0, rank, world_size)

    honest = EpochSampler.batches
    monkeypatch.setattr(EpochSampler, "batches", replayed)
    with pytest.raises(AssertionError, match="differ from those of a whole epoch"):
        steps.order(str(root / "table"), "0")


def test_the_report_step_counts_the_list(root, tmp_path):
    (tmp_path / "run").mkdir()
    told = steps.report(str(tmp_path / "run"), str(root / "table"), str(tmp_path))
    suspects = np.count_nonzero(label_evidence(Columns(Table.open(root / "table"))).score)
    assert told["suspects"] == suspects
    assert (tmp_path / "report.html").is_file()


def test_mapped_pages_are_counted_by_folder(root):
    table = Table.open(root / "table")
    values = table.column("keep")
    float(values.sum())
    assert steps.mapped(str(root / "table"), "Rss") >= values.nbytes / steps.MB * 0.99
    assert steps.mapped(str(root / "elsewhere"), "Rss") == 0


def test_two_processes_share_the_pages(root):
    figures = {figure.name: figure for figure in table_scale._opening(root / "table")}
    part = figures["a process's part of the mapped files, two processes"]
    assert part.value < 2 * part.limit
    assert figures["memory of its own that a process has from it"].value > 0


def test_a_step_as_a_program_prints_one_object(root):
    command = [sys.executable, "-m", "tools.speed.table_steps", "order", str(root / "table"), "4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=table_scale.REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["first"] > 0


# --- cluster


def test_the_exponent_is_that_of_a_power_law():
    sizes = [100, 200, 400, 1000]
    assert cluster.growth(sizes, [3e-4 * n**1.25 for n in sizes]) == pytest.approx(1.25)


def test_fewer_rows_are_fewer_classes_of_the_same_sizes():
    for n, n_classes in ((32_000, 10), (128_000, 40)):
        features, labels, given_prob, made = cluster.make_data(n, 4)
        counts = np.bincount(labels)
        assert (made, len(counts)) == (n_classes, n_classes)
        assert len(labels) == len(features) == len(given_prob) == pytest.approx(n, rel=0.001)
        assert counts.max() / counts.min() == pytest.approx(547, rel=0.02)
        assert features.dtype == np.float16


def test_cluster_figures(monkeypatch):
    monkeypatch.setattr(cluster, "seconds_of", lambda data: (len(data[0]) / 1000) ** 1.5)
    figures = cluster.measure(argparse.Namespace(sizes=[10_000, 40_000], width=2))
    assert figures[0].value == pytest.approx(10_000 / 10**1.5, rel=0.01)
    assert figures[-2].value == pytest.approx(1.5, rel=0.01)
    assert figures[-1].value == pytest.approx(16_000**1.5 / 3600, rel=0.05)
    for wrong in ({"sizes": [10_000, 10_000]}, {"sizes": [10, 20_000]}, {"width": 0}):
        with pytest.raises(InputError, match="two sizes of 10000 or more"):
            cluster.measure(argparse.Namespace(**{"sizes": [10_000, 20_000], "width": 2, **wrong}))

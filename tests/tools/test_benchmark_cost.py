"""What methods cost: predicted so that durations are equal, counted, and refused where it is not."""

import json
from dataclasses import replace

import pytest

from tests.helpers.benchmark import finish, write_data, write_recipe
from tools.ablation import __main__ as ablation
from tools.ablation import cost
from tools.ablation.durations import shortened
from tools.ablation.methods import KINDS, compared, make_run
from tools.ablation.report import cost_table
from tools.ablation.rows import read_rows
from tools.ablation.runs import Cost
from urnet.config.recipe import Data
from urnet.config.stage import Ema
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe
from urnet.training.passes import Passes


@pytest.fixture
def base(tmp_path):
    return load_recipe(write_recipe(tmp_path))


def test_a_backward_pass_counts_as_two():
    assert Passes(30, 15).training_images == 20
    assert (Passes(1, 2) + Passes(3, 4)) * 2 == Passes(8, 12)
    states = [{"passes": {"forward": 5, "backward": 1}}, {"passes": {"forward": 2, "backward": 2}}]
    assert cost.total_passes(states) == Passes(7, 3)
    assert cost.total_passes([*states, {}]) is None


def test_the_ladder_by_hand(base):
    """Five stages of 4 epochs of 12 rows; three measure; the first one's average takes 2 batches of 4 in the end."""
    assert cost.predicted(base.stages, 12) == Passes(5 * 48 + 3 * 12 + 2 * 4, 5 * 48)
    assert cost.predicted(base.stages, 14) == Passes(5 * 48 + 3 * 14 + 2 * 4, 5 * 48)  # full batches only
    assert cost.predicted(base.stages, 3) == Passes(5 * 12 + 3 * 3 + 3, 5 * 12)  # a batch of all


def test_frozen_parts_count_once_a_view(base):
    """A classifier behind the first network: its features are kept in one view, then another; `top` keeps maps."""
    whole = replace(base.stages[0], ema=None)
    one = replace(base.stages[1], train="classifier")  # measured from what it trains on
    two = replace(base.stages[2], train="classifier", views=2)
    top = replace(base.stages[3], train="top", ema=Ema())
    again = replace(base.stages[4], train="classifier")
    stages = [whole, one, two, top, again]
    made = [cost.predicted(stages[: i + 1], 12).forward - 48 * (i + 1) for i in range(5)]
    assert made == [0, 12, 24, 36, 48]


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_every_method_costs_what_the_ladder_costs(base, tmp_path, factor):
    base = replace(base, stages=tuple(shortened(stage, factor) for stage in base.stages))
    costs = {
        name: cost.predicted(make_run(base, kind, 0, tmp_path, 7040).recipe.stages, 7040).training_images
        for name, kind in compared(base).items()
    }
    assert set(compared(base).values()) == set(KINDS) - {"untrained", "ce"} and "+label" in costs
    assert min(costs.values()) == pytest.approx(max(costs.values()), rel=1e-9)


def test_costs_more_than_a_twentieth_apart_are_refused():
    cost.check_equal({"a": 100.0, "b": 105.0})
    cost.check_equal({})
    with pytest.raises(InputError) as refused:
        cost.check_equal({"elr": 1000.0, "pci": 1051.0, "gated": 1020.0})
    assert str(refused.value) == (
        "--methods: pci costs 1,051 training images and elr 1,000: more than 5% apart, so they cannot be compared; "
        "leave one of them out"
    )


def test_results_whose_counted_costs_differ_are_written_and_said(base, tmp_path, capsys):
    data, out = write_data(tmp_path / "data", truth=False), tmp_path / "out"
    arguments = ["--data", data, "--out", out, "--recipe", tmp_path / "toy.yaml", "--seeds", "0"]
    names = {"ce": None, "ce_equal": 100, "balanced_equal": 160}
    flags = [*map(str, arguments), "--methods"]
    pointed = ablation.read_base(ablation.parse([*flags, "ce"]))
    rows = ablation.read_rows(pointed.data)
    for kind, forward in names.items():
        run = make_run(pointed, kind, 0, out, 12)
        run = ablation.write_recipe(run, "")
        record = ablation.Record(run, rows)
        record.begin()
        finish(run, "class", 0.5, forward=forward)
        record.note("class", Cost(1.0, 1.0), done=True)
    assert cli.run(ablation.main, [*flags, "ce,ce_equal,balanced_equal"]) == 1
    stdout, err = capsys.readouterr()
    assert "not comparable: balanced_equal costs 85 training images and ce_equal 65" in err.splitlines()[-1]
    cells = [[cell.strip() for cell in line.split("|")[1:6]] for line in stdout.splitlines()]
    assert ["`ce`", "not counted", "–", "not counted", "not counted"] in cells
    assert ["`balanced_equal`", "85", "1.306", "160", "48"] in cells
    assert [e["cost"] for e in json.loads((out / "result.json").read_text())] == [None, pytest.approx(65.3333), 85.3333]


def test_the_table_of_costs_adds_a_rivals_stages_up():
    made = {"seed": 0, "seconds": 2.0, "peak_mb": 5.0}
    entries = [
        {**made, "method": "pci/a", "cost": 10.0, "forward": 10, "backward": 10},
        {**made, "method": "pci", "cost": 30.0, "forward": 50, "backward": 20},
        {**made, "method": "ce_equal", "cost": 20.0, "forward": 20, "backward": 20},
    ]
    lines = cost_table(entries, ("pci/a", "pci", "ce_equal")).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[2:] == [
        ["`pci`", "30", "1.500", "50", "20", "4", "5"],
        ["`ce_equal`", "20", "1.000", "20", "20", "2", "5"],
    ]


def test_rows_that_do_not_train_are_neither_predicted_nor_judged(tmp_path):
    data = Data(root=str(write_data(tmp_path / "data")), n_classes=3)
    whole, first = read_rows(data), read_rows(replace(data, limit=2))
    assert len(whole) == 12 and len(first) == 6
    right = dict(zip(whole.paths.to_pylist(), zip(whole.labels, whole.right, strict=True), strict=True))
    assert not whole.right.all()
    found = zip(first.paths.to_pylist(), zip(first.labels, first.right, strict=True), strict=True)
    assert all(right[path] == judged for path, judged in found)

"""A reweighting method is one description: one that is registered here works everywhere, and so do all others."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from tests.helpers.tiny_stages import MORE, actions, plan, recipe_of, train
from tools import plan as plan_tool
from tools import recipe_docs, report
from urnet.checkpoints import checkpoint
from urnet.config.fields import key, suffix_key
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline import row_weights
from urnet.pipeline.method import Column, Method
from urnet.pipeline.methods import METHODS


@dataclass(frozen=True)
class Settings:
    """Rows that the network is sure of count more."""

    method: Literal["toy"] = "toy"
    factor: float = key(2.0, "how much more", above=0, high=10)
    suffix: str = suffix_key()


def compute(data, settings):
    medians = np.array([np.median(data.given[data.labels == c]) for c in range(data.n_classes)])
    sure = data.given > medians[data.labels]
    weight = np.where(sure, settings.factor, 1).astype(np.float32)
    return {"toy_weight": weight, "toy_rank": np.argsort(np.argsort(data.given)).astype(np.int32)}


TOY = Method(
    name="toy",
    settings=Settings,
    version=1,
    file="toy",
    columns={"toy_weight": Column("float32", "weight"), "toy_rank": Column("int32", empty=-1)},
    compute=compute,
    score="toy_weight",
    usage="`sampling_weight: [toy_weight]`",
)
STAGE = {**MORE, "reweight": {"method": "toy", "suffix": "_x"}, "sampling_weight": ["toy_weight_x"]}


@pytest.fixture(scope="module", autouse=True)
def toy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "toy", TOY)
        yield


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(recipe_of(images, folder, stages=(STAGE,)))
    return folder


def test_its_columns_are_written_and_weigh_rows(images, trained):
    table, recipe = Table.open(trained / "out/tiny/table"), recipe_of(images, trained, stages=(STAGE,))
    weight = table.column("toy_weight_x")
    assert set(np.unique(weight)) == {1, 2}
    assert sorted(table.column("toy_rank_x")) == list(range(61))
    np.testing.assert_array_equal(row_weights.sampling_weight(recipe.stages[1], table), weight)
    drawn = row_weights.sampler_of(recipe, recipe.stages[1], table).expected_draws()
    labels = table.column("label")
    for c in range(3):
        twice, once = (drawn[(labels == c) & (weight == w)].mean() for w in (2, 1))
        assert twice == pytest.approx(2 * once)


def test_it_is_planned_and_its_settings_and_version_decide(images, trained, monkeypatch):
    recipe = recipe_of(images, trained, stages=(STAGE,))
    assert set(actions(recipe).values()) == {"keep"}
    found = plan(recipe_of(images, trained, "stages.more.reweight.factor=3", stages=(STAGE,)))["more"]
    assert found[0] == "again" and "column toy_weight_x, which it trains with, would differ" in found[1]
    monkeypatch.setitem(METHODS, "toy", dataclasses.replace(TOY, version=2))
    assert actions(recipe) == {"class": "keep", "more": "again"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reweight.factor=11", "reweight.factor: found 11.0; accepted: more than 0, up to 10"),
        ("reweight.facto=1", "unknown key stages.more.reweight.facto; nearest: stages.more.reweight.factor"),
        ("reweight.method=to", "reweight.method: found 'to'; accepted: class_size, cluster, .*, toy"),
        ("loss_weight=[toy_rank_x]", "loss_weight: column 'toy_rank_x' holds no weights"),
        ("loss_weight=[toy_weight]", "the table has no column 'toy_weight'; nearest: toy_weight_x"),
        ("measure.network=/nowhere", "/nowhere: does not exist"),
    ],
)
def test_its_slips_are_refused_before_anything_is_trained(images, tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        train(recipe_of(images, tmp_path, f"stages.more.{override}", stages=(STAGE,)))
    assert not (tmp_path / "out/tiny/class").exists()


def test_report_planner_and_documentation_show_it(images, trained, capsys):
    report.main(["--run", str(trained / "out/tiny"), "--out", str(trained / "report.html")])
    assert "Histogram of toy_weight_x" in (trained / "report.html").read_text()
    plan_tool.main(["-c", str(trained / "stages.yaml"), "--rows", "1000"])
    out = capsys.readouterr().out
    assert "toy_x.arrow" in out and "toy_rank_x int32" in out
    page = recipe_docs.render(recipe_docs.PAGE.read_text(encoding="utf-8"))
    assert "### toy\n\nRows that the network is sure of count more.\n" in page
    assert "| `factor` | more than 0, up to 10 | 2.0 | how much more |" in page
    assert "| toy | `toy.arrow` | `toy_weight`, `toy_rank` | `sampling_weight: [toy_weight]` |" in page


def test_a_checkpoint_is_read_where_its_method_is_not_known(trained, monkeypatch):
    monkeypatch.delitem(METHODS, "toy")
    recipe = checkpoint.describe(trained / "out/tiny/more/final").recipe
    assert recipe.stages[1].reweight == {"method": "toy", "factor": 2.0, "suffix": "_x"}


def test_columns_that_are_not_as_described_are_a_fault_of_the_code(images, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "toy", dataclasses.replace(TOY, columns={"toy_weight": Column("float16", "weight")}))
    with pytest.raises(ValueError, match=r"method toy: computed .*toy_rank.*, but its columns are .*float16"):
        train(recipe_of(images, tmp_path, stages=(STAGE,)))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_description_is_whole(method):
    keys = [field.name for field in dataclasses.fields(method.settings)]
    assert (keys[0], keys[-1]) == ("method", "suffix")
    assert method.settings().method == method.name
    assert METHODS[method.name] is method
    assert method.score in method.columns
    assert method.about and method.usage
    assert method.needs_texts == ("evidence" in keys)
    assert not (
        set(method.columns) & {name for other in METHODS.values() if other is not method for name in other.columns}
    )

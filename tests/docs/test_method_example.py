"""The worked example of docs/method.md: its table and pictures are what the reweightings compute."""

import numpy as np
import paddle
import pytest

from tests.helpers.doc_commands import ROOT
from tools import method_example as example
from tools.method_pictures import pictures
from urnet.nn.losses import bag_loss


@pytest.fixture(scope="module")
def columns():
    return example.columns()


def test_the_page_has_the_table_that_the_functions_give():
    assert example.table() in (ROOT / "docs/method.md").read_text(encoding="utf-8")


def test_the_pictures_are_those_of_the_table(columns):
    for name, text in pictures(columns).items():
        assert (ROOT / "docs/assets" / name).read_text(encoding="utf-8") == text, (
            "python -m tools.method_example --draw"
        )
        assert f"(assets/{name})" in (ROOT / "docs/method.md").read_text(encoding="utf-8")


def test_the_columns_are_what_the_page_computes_by_hand(columns):
    p, circle = example.GIVEN, example.LABELS == 0
    assert columns["class_weight"] == pytest.approx(np.where(circle, 10 / 12, 10 / 8))
    first = (4 * 0.825 + 10 * p[circle].mean()) / 14
    second = (2 * 0.25 + 10 * p[circle].mean()) / 12
    mean = (4 * first + 2 * second) / 6
    assert columns["cluster_weight"][circle] == pytest.approx([first / mean] * 4 + [second / mean] * 2)
    assert columns["instance_weight"][4] == pytest.approx(2 * 0.5 / 6)
    assert columns["target"][[4, 9]] == pytest.approx([0.2 + 0.8 * 0.2, 0.9 * 0.9], abs=1e-3)  # kept as float16


def test_the_attention_is_that_of_the_loss(columns):
    for bag in map(list, example.BAGS):
        p, y = example.GIVEN[bag], example.LABELS[bag]
        both = np.where(np.arange(2) == y[:, None], p[:, None], 1 - p[:, None])
        ones = paddle.ones([len(bag)])
        _, attention = bag_loss(
            paddle.to_tensor(np.log(both)), paddle.to_tensor(y), ones, float(len(bag)), size=len(bag)
        )
        assert columns["bag_attention"][bag] == pytest.approx(attention.numpy())

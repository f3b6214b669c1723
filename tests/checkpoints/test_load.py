"""Weights into a network: all or nothing, and one line that lists what does not fit."""

import numpy as np
import paddle
import pytest

from tests.helpers.tiny_network import Tiny, assert_same, weights_of
from urnet.checkpoints import checkpoint
from urnet.checkpoints.load import classifiers_text
from urnet.core.checks import InputError


def test_load_into_restores_every_value():
    source, target = Tiny(), Tiny()
    source.bn._mean.set_value(np.array([1, 2, 3, 4], "float32"))
    assert checkpoint.load_into(target, weights_of(source)) == []
    assert_same(weights_of(target), weights_of(source))


def test_another_class_dim_has_its_own_line():
    with pytest.raises(InputError) as error:
        checkpoint.load_into(Tiny(5), weights_of(Tiny(3)), source="ckpt")
    assert str(error.value) == "ckpt: has 3 classes (fc.weight 4x3) but class_dim is 5"


def test_differences_are_listed_and_nothing_is_loaded():
    network, weights = Tiny(), weights_of(Tiny())
    before = weights_of(network)
    weights["bn._mean"] = np.zeros((2, 2), "float32")
    weights["bn.bias_"] = weights.pop("bn.bias")
    with pytest.raises(InputError) as error:
        checkpoint.load_into(network, weights, source="x.pdparams")
    assert str(error.value) == (
        "x.pdparams: does not fit the network; parameters: 1 missing (bn.bias); 1 unexpected (bn.bias_);"
        " 1 misshapen (bn._mean is 2x2 not 4)"
    )
    with pytest.raises(InputError, match=r"6 missing \(bn.weight, bn.bias, bn._mean, bn._variance, fc.weight, …\)"):
        checkpoint.load_into(network, {})
    assert_same(weights_of(network), before)


class Headed(Tiny):
    """Tiny with an auxiliary head: a trunk of its own and a classifier."""

    def __init__(self, n_classes=3):
        super().__init__(n_classes)
        self.auxiliary = paddle.nn.Layer()
        self.auxiliary.conv = paddle.nn.Linear(4, 6)
        self.auxiliary.classifier = paddle.nn.Linear(6, n_classes)


FC = ["fc.weight", "fc.bias"]
AUXILIARY = ["auxiliary.classifier.weight", "auxiliary.classifier.bias"]


@pytest.mark.parametrize(
    ("build", "drop", "kept"),
    [
        (Tiny, [], FC),
        (Tiny, FC, FC),
        (Headed, [], [*FC, *AUXILIARY]),
        (Headed, [*FC, *AUXILIARY], [*FC, *AUXILIARY]),
        (Headed, AUXILIARY, [*FC, *AUXILIARY]),
    ],
)
def test_only_the_classifiers_may_differ(build, drop, kept):
    weights, network = weights_of(build(3)), build(5)
    before = weights_of(network)
    weights = {key: value for key, value in weights.items() if key not in drop}
    assert checkpoint.load_into(network, weights, strict=False) == kept
    assert_same(weights_of(network), {**weights, **{key: before[key] for key in kept}})


def test_a_classifier_in_other_libraries_order_of_axes_is_replaced():
    weights, network = weights_of(Headed(3)), Headed(5)
    weights["fc.weight"] = weights["fc.weight"].T
    weights["auxiliary.classifier.weight"] = weights["auxiliary.classifier.weight"].T
    kept = checkpoint.load_into(network, weights, strict=False)
    assert "fc is new, of 5 classes (3 there)" in classifiers_text(kept, weights, network)
    with pytest.raises(InputError, match=r"fc\.weight is 3x4 but 4x5 is needed; HINT"):
        checkpoint.load_into(network, weights, hint="; HINT")


def test_a_classifier_that_fits_is_taken_and_half_a_one_is_not():
    weights = weights_of(Headed(3))
    network = Headed(3)
    assert checkpoint.load_into(network, weights, strict=False) == []
    assert_same(weights_of(network), weights)
    network = Headed(3)
    before = weights_of(network)
    del weights["auxiliary.classifier.bias"]
    assert checkpoint.load_into(network, weights, strict=False) == AUXILIARY
    assert_same(weights_of(network), {**weights, **{key: before[key] for key in AUXILIARY}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bn.bias", np.zeros(2, "float32"), r"misshapen \(bn.bias is 2 not 4\)"),
        ("fc.weight", np.zeros((6, 3), "float32"), "fc.weight is 6x3 but 4x5 is needed"),
        ("fc.weight", np.zeros(12, "float32"), "fc.weight is 12 but 4x5 is needed"),
        ("fc.scale", np.zeros(3, "float32"), r"1 unexpected \(fc.scale\)"),
        ("auxiliary.conv.weight", None, r"1 missing \(auxiliary.conv.weight\)"),
    ],
)
def test_everything_else_must_fit(key, value, message):
    weights, network = weights_of(Headed(3)), Headed(5)
    before = weights_of(network)
    weights[key] = value
    if value is None:
        del weights[key]
    with pytest.raises(InputError, match=message) as error:
        checkpoint.load_into(network, weights, strict=False, hint="; HINT")
    assert "HINT" not in str(error.value)
    with pytest.raises(InputError) as error:
        checkpoint.load_into(network, weights, hint="; HINT")
    assert "HINT" not in str(error.value)
    assert_same(weights_of(network), before)


@pytest.mark.parametrize("drop", [[], FC])
def test_a_hint_is_given_where_it_would_help(drop):
    weights = {key: value for key, value in weights_of(Tiny(3)).items() if key not in drop}
    with pytest.raises(InputError, match=r"(class_dim is 5|2 missing \(fc.weight, fc.bias\)); HINT$"):
        checkpoint.load_into(Tiny(5), weights, hint="; HINT")


def test_what_became_of_the_classifiers_in_words():
    weights, network = weights_of(Headed(3)), Headed(5)
    kept = checkpoint.load_into(network, weights, strict=False)
    assert classifiers_text(kept, weights, network) == (
        "fc is new, of 5 classes (3 there), auxiliary.classifier is new, of 5 classes (3 there); the rest is loaded"
    )
    assert classifiers_text(FC, {}, Tiny(5)) == ("fc is new, of 5 classes (none there); the rest is loaded")
    assert classifiers_text([], weights, Headed(3)) == (
        "everything fits; the classifier continues from its weights there"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1, np.nan, 0, np.inf], "float32"), "x: bn.bias: 2 of 4 values are not finite"),
        (np.array([1, 0, 0, 0]), "x: bn.bias: holds int64; float32 is needed"),
    ],
)
def test_values_are_checked_before_anything_is_loaded(value, message):
    network, weights = Tiny(), {**weights_of(Tiny()), "bn.bias": value}
    before = weights_of(network)
    with pytest.raises(InputError, match=message):
        checkpoint.load_into(network, weights, source="x")
    assert_same(weights_of(network), before)

"""Weights into a network: all or nothing, and one line that lists what does not fit."""

import numpy as np
import pytest
from tiny_network import Tiny, assert_same, weights_of

from urnet import checkpoint
from urnet.checks import InputError


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
    with pytest.raises(
        InputError, match=r"6 missing \(bn.weight, bn.bias, bn._mean, bn._variance, fc.weight, …\)"
    ):
        checkpoint.load_into(network, {})
    assert_same(weights_of(network), before)


def test_only_the_classifier_may_differ():
    weights, network = weights_of(Tiny(3)), Tiny(5)
    before = weights_of(network)
    assert checkpoint.load_into(network, weights, strict=False) == ["fc.weight", "fc.bias"]
    assert_same(
        weights_of(network), {**weights, "fc.weight": before["fc.weight"], "fc.bias": before["fc.bias"]}
    )
    assert checkpoint.load_into(Tiny(3), weights, strict=False) == []
    del weights["fc.bias"]
    assert checkpoint.load_into(Tiny(3), weights, strict=False) == ["fc.bias"]
    weights["bn.bias"] = np.zeros(2, "float32")
    with pytest.raises(InputError, match=r"1 misshapen \(bn.bias is 2 not 4\)"):
        checkpoint.load_into(Tiny(3), weights, strict=False)


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

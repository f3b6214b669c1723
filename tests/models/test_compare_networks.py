"""tools/compare_networks.py and tools/network_pairs.py: pairs, what they cover, lines and exit codes.

None of it needs torch: the other library's side is made of names and shapes.
"""

from __future__ import annotations

import sys
import types

import numpy as np
import paddle
import pytest
from paddle import nn

import models
from tools import compare_networks, network_pairs
from tools.compare_networks import PEERS, Comparison, line, main
from tools.network_pairs import OUR_PARTS, THEIR_PARTS, Layer, Mismatch, check_covered, pair
from urnet.core import cli

CONV = Layer("a.conv", "conv", {"weight": (8, 3, 3, 3)})
NORM = Layer("a.bn", "norm", {"weight": (8,), "bias": (8,), "mean": (8,), "variance": (8,)})
FC = Layer("fc", "linear", {"weight": (10, 8), "bias": (10,)})
THEIRS = [CONV, NORM, FC]
WITHOUT = {  # networks that timm does not have
    "ResNeXt50_32x4d",
    "ResNeXt152_32x4d",
    "ResNeXt152_32x4d_standard",
    "ResNeXt_small32",
    "ResNet8_small32",
    "InceptionV2",
    "InceptionV2_multiscale",
    "SE_ResNeXt152_32x4d",
}


def renamed(layers):
    return [Layer(f"ours.{layer.name}", layer.kind, layer.shapes) for layer in layers]


# ------------------------------------------------------------------------------------------------- pairs


def test_pairs_are_those_of_the_same_place():
    ours = renamed(THEIRS)
    assert pair(THEIRS, ours) == list(zip(THEIRS, ours, strict=True))


def test_a_convolution_of_one_pixel_is_a_linear_layer_where_the_other_is():
    head = Layer("classifier", "conv", {"weight": (10, 8, 1, 1), "bias": (10,)})
    assert pair([head], [FC]) == [(head, FC)]
    assert pair([FC], [head]) == [(FC, head)]
    with pytest.raises(Mismatch, match=r"layer 0: theirs is classifier \(conv"):
        pair([Layer("classifier", "conv", {"weight": (10, 8, 3, 3), "bias": (10,)})], [FC])


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ([NORM, CONV, FC], r"layer 0: theirs is a\.conv \(conv: weight \(8, 3, 3, 3\)\), ours is a\.bn \(norm"),
        ([CONV, NORM, Layer("fc", "linear", {"weight": (10, 8)})], r"layer 2: .*bias \(10,\)\), ours is fc"),
        ([CONV, NORM, Layer("fc", "linear", {"weight": (8, 10), "bias": (10,)})], r"ours is .*\(8, 10\)"),
        ([CONV, NORM], r"^1 layers are left over of theirs, the first is fc \(linear"),
        ([CONV, NORM, FC, CONV, NORM], r"^2 layers are left over of ours, the first is a\.conv"),
    ],
)
def test_the_first_difference_is_named(ours, message):
    with pytest.raises(Mismatch, match=message):
        pair(THEIRS, ours)


def test_every_parameter_and_buffer_is_covered():
    keys = ["a.conv.weight", "a.bn.running_mean", "a.bn.num_batches_tracked", "fc.bias"]
    check_covered("theirs", keys, THEIRS, THEIR_PARTS)
    with pytest.raises(Mismatch, match=r"^aux\.weight of theirs belongs to no layer"):
        check_covered("theirs", [*keys, "aux.weight"], THEIRS, THEIR_PARTS)
    with pytest.raises(Mismatch, match=r"^a\.conv\.bias of ours"):  # the layer is there, this part was not seen
        check_covered("ours", ["a.conv.weight", "a.conv.bias"], THEIRS, OUR_PARTS)


# ----------------------------------------------------------------------------------------- Paddle's side


class Toy(nn.Layer):
    """Defines what it runs last first; ``unused`` never runs."""

    def __init__(self):
        super().__init__()
        self.fc, self.bn, self.conv = nn.Linear(4, 2), nn.BatchNorm2D(4), nn.Conv2D(3, 4, 1, bias_attr=False)
        self.unused = nn.Conv2D(3, 4, 1)

    def forward(self, x):
        return self.fc(nn.functional.relu(self.bn(self.conv(x))).mean(axis=[2, 3]))


def test_layers_in_the_order_of_execution_and_of_definition():
    toy, x = Toy(), paddle.ones([2, 3, 4, 4])
    names = [name for name, _ in network_pairs.executed(toy.named_sublayers(), [lambda: toy(x), lambda: toy(x)])]
    assert names == ["conv", "bn", "fc"]
    assert [name for name, _ in network_pairs.owners(toy.named_sublayers())] == ["fc", "bn", "conv", "unused"]


def described(network):
    layers = network_pairs.owners(network.named_sublayers())
    return {a.name: a for a in network_pairs.described(layers, network_pairs.our_kinds(), OUR_PARTS)}


def test_what_paddles_layers_are():
    found = described(Toy())
    assert found["fc"] == Layer("fc", "linear", {"weight": (2, 4), "bias": (2,)})  # (out, in)
    assert found["conv"].shapes == {"weight": (4, 3, 1, 1)}
    assert found["bn"].kind == "norm" and set(found["bn"].shapes) == set(OUR_PARTS)
    with pytest.raises(Mismatch, match="0 is a Embedding; conv, norm, linear are known"):
        described(nn.Sequential(nn.Embedding(3, 2)))


def test_a_layer_that_does_not_run_is_not_passed_over():
    toy, x = Toy(), paddle.ones([2, 3, 4, 4])
    executed = network_pairs.executed(toy.named_sublayers(), [lambda: toy(x)])
    layers = list(network_pairs.described(executed, network_pairs.our_kinds(), OUR_PARTS))
    with pytest.raises(Mismatch, match=r"unused\.weight of ours belongs to no layer"):
        check_covered("ours", toy.state_dict(), layers, OUR_PARTS)


def test_moved_values_give_the_outputs_worked_out_by_hand():
    """Their convolutional head becomes our linear layer, turned round."""
    toy = Toy()
    layers = [described(toy)[name] for name in ("conv", "bn", "fc")]
    head = Layer("head", "conv", {"weight": (2, 4, 1, 1), "bias": (2,)})
    weights = {
        "conv.weight": np.ones((4, 3, 1, 1)),
        "bn.weight": [1, 2, 3, 4],
        "bn.bias": np.zeros(4),
        "bn.running_mean": np.ones(4),
        "bn.running_var": np.full(4, 4 - 1e-5),
        "head.weight": np.reshape([[1, 0, 0, 0], [0, 0, 0, 10]], (2, 4, 1, 1)),
        "head.bias": [0.5, -0.5],
    }
    theirs = {key: Value(np.asarray(value, "float32")) for key, value in weights.items()}
    network_pairs.move(list(zip([*layers[:2], head], layers, strict=True)), theirs, toy.state_dict())
    toy.eval()
    # Three ones make 3; (3 - 1) / 2 = 1 times gamma 1, 2, 3, 4; then the head's rows.
    np.testing.assert_allclose(toy(paddle.ones([1, 3, 2, 2])).numpy(), [[1.5, 39.5]], rtol=1e-6)


class Value:
    """What a tensor of torch is to ``move``."""

    def __init__(self, array):
        self.numpy = lambda: array


# --------------------------------------------------------------------------------------------- command line


def test_every_network_has_a_peer_or_is_known_to_have_none():
    assert set(PEERS) | WITHOUT == set(models.NAMES)
    assert not set(PEERS) & WITHOUT


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Comparison(5, 5, 9.9e-5), "OK"),
        (Comparison(5, 5, 1e-4), "error is 0.0001 or more"),
        (Comparison(5, 5, float("nan")), "error is 0.0001 or more"),
        (Comparison(5, 6, 0.0), "counts differ"),
    ],
)
def test_verdicts(found, verdict):
    assert found.verdict == verdict


def test_lines_and_exit_codes(monkeypatch, capsys):
    answers = {"ResNet18": Comparison(11_689_512, 11_689_512, 2e-6), "ResNet34": Comparison(1, 1, 0.5)}

    def compare(name, peer):
        if name not in answers:
            raise Mismatch("layer 0: theirs is x, ours is y")
        return answers[name]

    monkeypatch.setattr(compare_networks, "compare", compare)
    monkeypatch.setattr(compare_networks, "import_timm", lambda: None)
    assert line("ResNet18")[0].split() == ["ResNet18", "resnet18", "11,689,512", "11,689,512", "2.0e-06", "OK"]
    assert main(["--networks", "ResNet18, InceptionV2"]) == cli.DONE
    assert capsys.readouterr().out.splitlines()[1].split() == ["InceptionV2", "none"]
    assert main(["--networks", "ResNet34,ResNet18"]) == cli.FAILED
    assert main(["--networks", "DPN92"]) == cli.FAILED
    assert capsys.readouterr().out.endswith("dpn92                      layer 0: theirs is x, ours is y\n")


def test_an_unknown_network_is_bad_usage(capsys):
    assert cli.run(main, ["--networks", "ResNet18,ResNet19"]) == cli.BAD_INPUT
    assert "--networks: 'ResNet19' is not known; nearest: " in capsys.readouterr().err


def test_without_the_other_library_the_file_to_install_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.run(main, ["--networks", "ResNet18"]) == cli.BAD_INPUT
    assert "torch is not installed; pip install -r requirements-peer.txt" in capsys.readouterr().err


def test_missing_operators_of_torchvision_are_passed_over_and_the_door_is_put_back(monkeypatch):
    """A stand-in for a torch without torchvision's operators: registering one raises."""

    def register_fake(op):
        if op.startswith("torchvision::"):
            raise RuntimeError(f"operator {op} does not exist")
        return lambda function: "registered"

    library = types.ModuleType("torch.library")
    library.register_fake = register_fake
    torch = types.ModuleType("torch")
    torch.library = library

    class Timm(types.ModuleType):
        """Registers what timm's imports register, when it is looked at."""

    registered = []

    def importer(name, *args, **kwargs):
        if name == "timm":
            registered.append(torch.library.register_fake("torchvision::nms")(len))
            registered.append(torch.library.register_fake("other::op")(len))
            return Timm("timm")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch.library", library)
    monkeypatch.setattr("builtins.__import__", importer)
    assert compare_networks.import_timm().__name__ == "timm"
    assert registered == [len, "registered"]
    assert library.register_fake is register_fake

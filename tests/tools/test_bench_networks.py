"""tools/bench_networks.py: the work of a network counted by hand, the limit, the table, one small run."""

import argparse
import types

import pytest
from paddle import nn

import models
from tools.speed import networks
from tools.speed.networks import Measured, calls_per_second, markdown, measure, multiply_adds, source, usual_size
from urnet.core.checks import InputError


def arguments(*words):
    parser = argparse.ArgumentParser()
    networks.add_arguments(parser)
    return parser.parse_args(words)


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
    assert multiply_adds(network, 8) == first + twice + rows + 6 * 5 == 5790
    assert network.training  # as it was: the auxiliary head was left out
    assert multiply_adds(network, 16) == 4 * (first + twice + rows) + 6 * 5


def test_resnet50_has_its_well_known_number():
    assert round(multiply_adds(models.build("ResNet50", 1000), 224) / 1e9, 2) == 4.09


def test_work_that_cannot_be_counted_is_refused():
    network = nn.Sequential(nn.Conv2D(3, 4, 1), nn.Conv2DTranspose(4, 4, 2))
    with pytest.raises(InputError, match="layer '1': found Conv2DTranspose; only Conv2D and Linear"):
        multiply_adds(network, 8)


def test_every_network_has_a_source_and_every_source_a_network():
    keys = {max((key for key in networks.SOURCES if name.startswith(key)), key=len) for name in models.NAMES}
    assert keys == set(networks.SOURCES)
    assert source("ResNet8_small32").startswith("ours")
    assert source("ResNeXt50_32x4d").startswith("Xie")
    assert source("InceptionV2_multiscale").startswith("Guo")
    assert set(networks.SIZES) <= set(models.NAMES)
    sizes = {name: usual_size(name) for name in models.NAMES}
    assert sizes["InceptionV2"] == sizes["ResNet50"] == 224
    assert sizes["InceptionV4"] == 299
    assert {size for name, size in sizes.items() if "small" in name} == {32}


def test_calls_a_second_leave_the_first_call_out(monkeypatch):
    clock = [0.0]

    def call():
        clock[0] += 100.0 if not clock[0] else 2.0

    monkeypatch.setattr(networks, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    assert calls_per_second(call, 5.0) == 0.5  # three calls in six seconds
    assert calls_per_second(call, 0.001) == 0.5  # one call at least


def test_the_matrix_product_is_counted(monkeypatch):
    products = []

    def twice_a_second(function, _):
        products.append(function().numpy())
        return 2.0

    monkeypatch.setattr(networks, "GEMM_SIDE", 8)
    monkeypatch.setattr(networks, "calls_per_second", twice_a_second)
    assert networks.gemm_rate() == 2 * 8**3
    assert products[0].dtype == "float32"
    assert products[0].tolist() == [[8.0] * 8] * 8


def test_one_small_network_from_end_to_end(monkeypatch, capsys, tmp_path):
    rates = iter([2e9, 4e9, 1e9, 1e9])  # before and after each run
    monkeypatch.setattr(networks, "gemm_rate", lambda: next(rates))
    figures = measure(arguments("--networks", "ResNet8_small32", "--seconds", "0.01"))
    network = models.build("ResNet8_small32", 1000)
    parameters = sum(int(p.size) for p in network.parameters() if not p.stop_gradient)
    work = multiply_adds(network, 32)
    assert [figure.unit for figure in figures] == ["million", "values", "GFLOPs", "images/s"]
    assert [figure.value for figure in figures[:3]] == [parameters / 1e6, 128, work / 1e9]
    assert figures[3].limit == pytest.approx(3e9 / work)
    assert figures[3].ratio == pytest.approx(figures[3].value * work / 3e9)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| name | parameters | GFLOPs (pixels) |")
    assert lines[2].startswith(f"| ResNet8_small32 | {parameters:,} | ")

    file = tmp_path / "table.md"
    measure(arguments("--networks", "ResNet8_small32", "--seconds", "0.01", "--size", "64", "--table", str(file)))
    assert "| ResNet8_small32" not in capsys.readouterr().out
    assert " (64) | 128 | " in file.read_text().splitlines()[2]


def test_the_table_is_markdown():
    rows = [Measured("DPN92", 224, 37_668_392, 6.4999, 2688, 12.345, 20.0)]
    assert markdown(rows).splitlines() == [
        "| name | parameters | GFLOPs (pixels) | feature width | images/s here | source |",
        "|---|---:|---:|---:|---:|---|",
        "| DPN92 | 37,668,392 | 6.50 (224) | 2,688 | 12.3 | Chen et al. 2017, Dual Path Networks |",
    ]


def test_names_are_chosen_and_checked():
    assert networks.chosen("all") == list(models.NAMES)
    assert networks.chosen("ResNet50, DPN92,ResNet50") == ["ResNet50", "DPN92"]
    with pytest.raises(InputError, match=r"--networks: 'DPN29' is not known; nearest: .*DPN92"):
        measure(arguments("--networks", "DPN29"))


@pytest.mark.parametrize("words", [("--seconds", "0"), ("--size", "0")])
def test_nothing_to_measure_is_bad_input(words):
    with pytest.raises(InputError, match="above 0 each"):
        measure(arguments(*words))

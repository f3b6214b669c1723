"""The engines against the live network and an independent computation; inference models on disk."""

import json

import numpy as np
import paddle
import pytest
from paddle import inference
from scipy.special import softmax

from urnet.checkpoints import checkpoint
from urnet.core.answers import mean_answers
from urnet.core.checks import InputError
from urnet.core.top_k import topk
from urnet.inference import predictor, program
from urnet.inference.predictor import FeatureExtractor, Predictor
from urnet.inference.program import Engine, export_inference, write_program
from urnet.inference.program_cache import ProgramSource
from urnet.nn.normalise import Normalise
from urnet.runtime.threads import compute_threads

SIZE, N_CLASSES = 16, 7
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Tiny(paddle.nn.Layer):
    """A convolution with batch norm, which the engine folds, and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 8, 3, stride=2, bias_attr=False)
        self.bn = paddle.nn.BatchNorm2D(8)
        self.fc = paddle.nn.Linear(8, N_CLASSES)

    def features(self, x):
        return paddle.nn.functional.relu(self.bn(self.conv(x))).mean(axis=[2, 3])

    def forward(self, x):
        return self.fc(self.features(x))


@pytest.fixture(scope="module")
def network():
    paddle.seed(3)
    tiny = Tiny()
    rng = np.random.default_rng(5)
    tiny.bn._mean.set_value(rng.normal(0, 1, 8).astype(np.float32))
    tiny.bn._variance.set_value(rng.uniform(0.5, 2, 8).astype(np.float32))
    tiny.fc.weight.set_value(rng.normal(0, 2, (8, N_CLASSES)).astype(np.float32))
    return Normalise(tiny, MEAN, STD)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


def by_hand(network, images):
    """The same features and probabilities from NumPy alone."""
    tiny = network.network
    x = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    y = np.einsum("bchwij,ocij->bohw", windows, tiny.conv.weight.numpy().astype(np.float64))
    mean, variance, gamma, beta = (
        p.numpy().reshape(1, 8, 1, 1) for p in (tiny.bn._mean, tiny.bn._variance, tiny.bn.weight, tiny.bn.bias)
    )
    y = np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0).mean(axis=(2, 3))
    return y, softmax(y @ tiny.fc.weight.numpy() + tiny.fc.bias.numpy(), axis=1)


@pytest.fixture(scope="module")
def engines(network):
    return {name: Predictor(network, SIZE, engine=name, batch_size=4, threads=1) for name in ("inference", "dygraph")}


@pytest.mark.parametrize("name", ["inference", "dygraph"])
def test_features_are_those_computed_by_hand(network, images, name):
    extractor = FeatureExtractor(network, SIZE, engine=name, batch_size=4, threads=1)
    features = extractor.features(images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, by_hand(network, images)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extractor.features(images[:3]), features[:3], atol=1e-6)
    late = [extractor.launch(images), extractor.launch(images[:3])]
    assert late[0]().tobytes() == features.tobytes()
    np.testing.assert_allclose(late[1](), features[:3], atol=1e-6)


@pytest.mark.parametrize("name", ["inference", "dygraph"])
def test_probabilities_are_those_computed_by_hand(engines, network, images, name):
    network.train()  # a predictor computes in evaluation mode, whatever mode the network is in
    probabilities = engines[name].probabilities(images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, by_hand(network, images)[1], atol=2e-6)
    assert network.training
    for n in (1, 3):  # filled up to four
        np.testing.assert_allclose(engines[name].probabilities(images[:n]), probabilities[:n], atol=1e-7)


def test_topk_orders_by_probability(engines, network, images):
    indices, scores = engines["inference"].topk(images, 3)
    expected = by_hand(network, images)[1]
    np.testing.assert_array_equal(indices, np.argsort(-expected, axis=1)[:, :3])
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :3], atol=2e-6)


def test_auto_takes_the_engine_of_the_device_and_the_network_may_be_a_function(network, images):
    assert Predictor(network, SIZE, threads=1, batch_size=1).engine == "inference"
    live = Predictor(lambda: network, SIZE, engine="dygraph", batch_size=4)
    np.testing.assert_allclose(live.probabilities(images), by_hand(network, images)[1], atol=2e-6)


def test_bf16_is_near_or_refused(network, images, engines, monkeypatch):
    if program.cpu_has_bf16():
        fast = Predictor(network, SIZE, precision="bf16", batch_size=4, threads=1)
        exact = engines["inference"].probabilities(images)
        difference = np.abs(fast.probabilities(images) - exact).max()
        assert 0 < difference < 0.05
    monkeypatch.setattr(predictor, "cpu_has_bf16", lambda: False)
    with pytest.raises(InputError, match="--precision bf16: this CPU does not have it; accepted: fp32, or a CPU with"):
        Predictor(network, SIZE, precision="bf16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dygraf"}, "--engine: 'dygraf' is not known; nearest: dygraph"),
        ({"precision": "int8"}, "--precision: 'int8' is not known"),
        (
            {"precision": "fp16"},
            "--precision fp16: works only on GPUs; accepted on the CPU: fp32, or bf16 on a CPU with",
        ),
        ({"precision": "bf16", "engine": "dygraph"}, "--precision bf16: on the CPU --engine inference is needed"),
        ({"batch_size": 0}, "--batch_size: found 0; 1 or more"),
    ],
)
def test_impossible_combinations_are_refused(network, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(network, SIZE, **options)


def test_wrong_batches_are_refused(engines, images):
    for bad, message in (
        (images.astype(np.float32), r"found float32 \(4, 16, 16, 3\); accepted: uint8 \(b, 16, 16, 3\)"),
        (images[:, :8], r"found uint8 \(4, 8, 16, 3\)"),
        (np.concatenate([images, images]), r"found 8 in a batch; 1\.\.4 are accepted"),
        (images[:0], r"found 0 in a batch"),
    ):
        with pytest.raises(InputError, match=message):
            engines["dygraph"].probabilities(bad)


def test_a_written_model_predicts_like_the_network(network, images, tmp_path):
    folder = tmp_path / "deep" / "model"
    difference = export_inference(network, (3, SIZE, SIZE), folder, notes={"model": "Tiny"})
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.pdiparams", "signature.json"]
    assert "batch_norm" not in (folder / "model.json").read_text()  # folded, which makes opening it quick
    assert type(network.network.bn) is paddle.nn.BatchNorm2D
    np.testing.assert_allclose(Engine(folder, threads=1)(images), by_hand(network, images)[1], atol=2e-6)
    signature = json.loads((folder / "signature.json").read_text())
    assert signature["largest_difference_from_live"] == difference < 1e-5
    assert signature["input"]["shape"] == ["batch", SIZE, SIZE, 3]
    assert signature["output"]["shape"] == ["batch", N_CLASSES]
    assert signature["model"] == "Tiny"
    with pytest.raises(InputError, match="exists already"):
        export_inference(network, (3, SIZE, SIZE), folder)


def test_a_model_that_predicts_otherwise_is_not_left_behind(network, tmp_path, monkeypatch):
    def write_another(normalised, size, folder):
        weight = normalised.network.fc.weight
        kept = weight.numpy()
        weight.set_value(kept * 1.02)
        write_program(normalised, size, folder)
        weight.set_value(kept)

    monkeypatch.setattr(program, "write_program", write_another)
    with pytest.raises(RuntimeError, match="not written; its probabilities differ"):
        export_inference(network, (3, SIZE, SIZE), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_compute_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compute_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert compute_threads() >= 1


@pytest.fixture
def cached(network, tmp_path, monkeypatch):
    """``open(source)`` -> a predictor of the saved network, and how many networks were built for it."""
    monkeypatch.setenv("URNET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "code").mkdir()
    weights = {key: value.numpy() for key, value in network.network.state_dict().items()}
    checkpoint.save(tmp_path / "weights", weights=weights, state={})

    def open_one(place=tmp_path / "weights", kind=Predictor):
        built = []

        def build():
            built.append(Tiny())
            built[-1].set_state_dict(checkpoint.read_weights(place))
            return Normalise(built[-1], MEAN, STD)

        source = ProgramSource(place, "Tiny", N_CLASSES, SIZE, MEAN, STD, tmp_path / "code")
        return kind(build, SIZE, batch_size=4, threads=1, source=source), len(built)

    return open_one


def test_a_second_start_needs_no_network_and_predicts_the_same(cached, network, images, tmp_path):
    first, built = cached()
    assert built == 1
    second, built = cached()
    assert built == 0
    expected = first.probabilities(images)
    np.testing.assert_array_equal(second.probabilities(images), expected)
    np.testing.assert_allclose(expected, by_hand(network, images)[1], atol=2e-6)
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    (entry / "model.pdiparams").write_bytes(b"damaged")
    third, built = cached()
    assert built == 1
    np.testing.assert_array_equal(third.probabilities(images), expected)
    assert cached()[1] == 0


def test_features_are_another_program_of_the_same_weights(cached, network, images, tmp_path):
    cached()
    first, built = cached(kind=FeatureExtractor)
    assert built == 1
    second, built = cached(kind=FeatureExtractor)
    assert built == 0 and cached()[1] == 0
    np.testing.assert_array_equal(second.features(images), first.features(images))
    np.testing.assert_allclose(first.features(images), by_hand(network, images)[0], rtol=1e-5, atol=1e-6)


def test_changed_weights_are_another_program(cached, network, images, tmp_path):
    cached()
    weights = {key: value.numpy() for key, value in network.network.state_dict().items()}
    weights["fc.bias"] = weights["fc.bias"] + np.float32([3, 0, 0, 0, 0, 0, 0])
    checkpoint.save(tmp_path / "weights", weights=weights, state={})
    after, built = cached()
    assert built == 1
    odds = by_hand(network, images)[1] * np.exp([3, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(after.probabilities(images), odds / odds.sum(1, keepdims=True), atol=1e-5)


def test_bad_weights_are_one_error_not_a_note(cached, tmp_path, capsys):
    """What is wrong with the network is no matter of the cache, and nothing is left there."""
    (tmp_path / "bad.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        cached(tmp_path / "bad.safetensors")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "cache").exists()


def test_what_a_gpu_begins_ends_as_what_is_computed_at_once(network, images):
    """The way of a GPU, taken by the CPU: also of several views per image, and of fewer images than a batch has."""
    made = Predictor(network, SIZE, engine="dygraph", batch_size=4, device="gpu")
    classes, scores, fits = made.launcher().launch(images[:3], 3)()
    expected = topk(made.probabilities(images[:3]), 3)
    assert classes.tobytes() == expected[0].tobytes() and scores.tobytes() == expected[1].tobytes() and fits is None
    views = np.stack([images, images[::-1], images[:, ::-1]], axis=1)
    classes, scores, _ = made.launcher().launch(views, 7)()
    mean = mean_answers(made.answers, views, 4).probabilities
    np.testing.assert_allclose(scores, np.sort(mean, axis=1)[:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(mean, classes, 1), scores, rtol=1e-5)
    assert Predictor(network, SIZE, engine="dygraph", batch_size=4).launcher() is None
    extractor = FeatureExtractor(network, SIZE, engine="dygraph", batch_size=4, device="gpu")
    late = [extractor.launch(images[::-1]), extractor.launch(images[:3])]
    expected = by_hand(network, images)[0]
    np.testing.assert_allclose(late[0](), expected[::-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(late[1](), expected[:3], rtol=1e-5, atol=1e-6)


class Config(inference.Config):
    """What the engine asks Paddle for; the CPU carries it out."""

    def __init__(self, *files):
        super().__init__(*files)
        self.asked = []
        asked.append(self.asked)

    def enable_use_gpu(self, *how):
        self.asked.append(("gpu", *how))

    def disable_gpu(self):
        self.asked.append("cpu")
        super().disable_gpu()


asked: list[list] = []


@pytest.mark.parametrize(
    ("precision", "device", "where", "expected"),
    [
        ("fp32", "gpu", "gpu:0", [("gpu", 256, 0, inference.PrecisionType.Float32)]),
        ("fp16", "gpu", "gpu:3", [("gpu", 256, 3, inference.PrecisionType.Half)]),
        ("bf16", "gpu", "gpu:1", [("gpu", 256, 1, inference.PrecisionType.Bfloat16)]),
        ("fp32", "cpu", "cpu", ["cpu"]),
    ],
)
def test_the_engine_goes_where_it_is_sent(network, images, monkeypatch, precision, device, where, expected):
    """The same program; on a GPU nothing of oneDNN is asked for, and the device is Paddle's current one."""
    monkeypatch.setattr(inference, "Config", Config)
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: True)
    real, asked[:] = paddle.get_device, []
    monkeypatch.setattr(program.paddle, "get_device", lambda: where)
    made = Predictor(network, SIZE, engine="inference", precision=precision, batch_size=4, threads=1, device=device)
    monkeypatch.setattr(program.paddle, "get_device", real)
    assert asked == [expected]
    assert made.engine == "inference" and (made.launcher() is None) == (device == "cpu")
    found = made.probabilities(images)
    np.testing.assert_allclose(found, by_hand(network, images)[1], atol=2e-6)
    if device == "gpu":  # the next batch is begun before the last one is read
        late = [made.launcher().launch(batch, N_CLASSES) for batch in (images, images[::-1], images[:3])]
        for read, expected in zip(late, (found, found[::-1], found[:3]), strict=True):
            classes, scores, fits = read()
            best = topk(expected, N_CLASSES)
            assert (classes.tobytes(), scores.tobytes(), fits) == (best[0].tobytes(), best[1].tobytes(), None)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["dygraph", "inference"])
def test_a_gpu_predicts_like_the_cpu(network, images, engines, engine):
    if not paddle.device.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0:
        pytest.skip("no GPU")
    expected = engines["inference"].probabilities(images)
    paddle.set_device("gpu")
    try:
        state = network.network.state_dict()
        live = Normalise(Tiny(), MEAN, STD)
        live.network.set_state_dict(state)
        for precision, limit in (("fp32", 1e-3), ("bf16", 0.05), ("fp16", 0.01)):
            fast = Predictor(live, SIZE, engine=engine, precision=precision, batch_size=4, device="gpu")
            assert fast.engine == engine
            np.testing.assert_allclose(fast.probabilities(images), expected, atol=limit)
            late = [fast.launcher().launch(batch, N_CLASSES) for batch in (images, images[::-1])]
            for read, scores in zip(late, (expected, expected[::-1]), strict=True):
                np.testing.assert_allclose(read()[1], -np.sort(-scores, axis=1), atol=limit)
    finally:
        paddle.set_device("cpu")

"""infer.py and eval.py with several views per image: the mean of the network's probabilities over them."""

import numpy as np
import paddle
import pytest
from scipy.special import softmax

import eval as evaluation
import infer
from tests.helpers.predict import N_CLASSES, N_IMAGES, RELEASE, TRANSFORM, numbers, prepare, run, weights_of
from urnet.checkpoints import safetensors_io
from urnet.data.images.decode import read_image
from urnet.data.images.multi_crop import MultiCrop
from urnet.data.loading import loader
from urnet.inference.cli_flags import make_parser
from urnet.inference.predictor import Predictor


def worked_out(toys, views, transform=TRANSFORM):
    """(n, C): the mean, over the views, of the network's softmax in float64."""
    toys.network.eval()
    means = []
    for name in toys.names:
        batch = (views(read_image(toys.images / name)) / 255 - transform.mean) / transform.std
        with paddle.no_grad():
            images = paddle.to_tensor(batch.transpose(0, 3, 1, 2).astype(np.float32))
            means.append(softmax(toys.network(images).numpy().astype(np.float64), axis=1).mean(axis=0))
    return np.array(means)


@pytest.fixture
def predict(toys, capsys):
    """``predict(FLAG, …, expected)``: checks infer.py's scores of all classes; its block and stderr."""

    def call(*flags, expected, **changed):
        code, block, lines, err = run(capsys, infer.main, toys.argv(*flags, topk=N_CLASSES, **changed))
        assert (code, len(lines)) == (0, len(expected)), err
        classes, scores = numbers(lines)
        np.testing.assert_allclose(scores, np.take_along_axis(expected, classes, 1), atol=2e-5)
        return block, err

    return call


@pytest.mark.parametrize(
    ("flags", "crops", "scales"),
    [
        (["--crops", "10", "--batch_size", "1"], 10, (36,)),  # the recipe's short side
        (["--crops", "10", "--engine", "inference", "--batch_size", "16", "--workers", "2"], 10, (36,)),
        (["--crops", "10", "--scales", "32,48", "--batch_size", "64"], 10, (32, 48)),
        (["--scales", "36,40,44"], 1, (36, 40, 44)),
        (["--flip"], 1, (36,)),
        (["--crops", "144"], 144, (37, 41, 46, 50)),
    ],
)
def test_infer_averages_what_the_network_says_of_the_views(toys, predict, flags, crops, scales):
    views = MultiCrop(32, scales, crops, "--flip" in flags)
    _, err = predict(*flags, expected=worked_out(toys, views))
    assert f", {views.n_views} views each" in err


@pytest.mark.parametrize(
    ("flags", "batch_size", "at_once"),
    [
        (["--crops", "10"], 16, 10),  # 16 would be filled up with 6 views of nothing
        (["--crops", "10"], 4, 4),
        (["--crops", "5", "--flip"], 23, 20),
        (["--crops", "144"], 16, 16),
        (["--flip"], 64, 22),  # no more views than the 11 images have
        ([], 64, 11),
    ],
)
def test_an_image_is_decoded_once_and_no_pass_is_wasted(toys, capsys, monkeypatch, flags, batch_size, at_once):
    sizes, decoded, decode, compute = [], [], loader.decode, Predictor.answers

    def counted(data, **how):
        decoded.append(len(data))
        return decode(data, **how)

    def answers(self, images):
        sizes.append((len(images), self.batch_size))
        return compute(self, images)

    monkeypatch.setattr(loader, "decode", counted)
    monkeypatch.setattr(Predictor, "answers", answers)
    code, *_ = run(capsys, infer.main, toys.argv(*flags, batch_size=batch_size))
    assert (code, len(decoded)) == (0, N_IMAGES)
    assert {largest for _, largest in sizes} == {at_once}
    views = 144 if "144" in flags else 10 if "--crops" in flags else 2 if flags else 1
    images = max(1, batch_size // views)
    assert sum(n for n, _ in sizes) == N_IMAGES * views
    assert len(sizes) == -(-views * images // batch_size) * (-(-N_IMAGES // images))


def test_eval_counts_the_mean_s_best_classes(toys, capsys):
    ranking = np.argsort(-worked_out(toys, MultiCrop(32, (36, 44), 10)), axis=1)
    labels = np.where(np.arange(N_IMAGES) % 3 == 0, ranking[:, 1], ranking[:, 0])
    file, right = toys.write_list("crops.txt", labels), ranking[:, 0] == labels
    top1 = np.mean([right[labels == c].mean() for c in np.unique(labels)])
    for flags in (["--crops", "10"], ["--crops", "5", "--flip"]):
        argv = toys.argv(*flags, "--scales", "36,44", img_list=file)
        code, _, lines, _ = run(capsys, evaluation.main, argv)
        assert (code, lines[-1]) == (0, f"top1:{top1:.4f} top5:1.0000")
        assert f"image-averaged top1:{right.mean():.4f} top5:1.0000" in lines


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_have_no_views(toys, capsys, tmp_path, workers):
    (tmp_path / "a.png").write_bytes((toys.images / "0.png").read_bytes())
    (tmp_path / "b.png").write_text("no picture")
    flags = {"img_path": tmp_path, "img_list": None, "max_bad": 1, "workers": workers}
    code, _, lines, _ = run(capsys, infer.main, toys.argv("--crops", "5", **flags))
    assert (code, lines[1:]) == (0, ["Test-1-score: [nan], class []"])
    expected = worked_out(toys, MultiCrop(32, (36,), 5))[0].max()
    np.testing.assert_allclose(numbers(lines[:1])[1], [[expected]], atol=2e-5)


def test_without_a_recipe_s_short_side_it_is_eight_sevenths(toys, predict, capsys, tmp_path):
    weights = tmp_path / "bare.safetensors"
    safetensors_io.write_safetensors(weights, weights_of(toys.network))
    bare = {"pretrained_model": weights, "model": "ResNeXt_small32", "class_dim": N_CLASSES, "image_shape": "3,32,32"}
    block, _ = predict("--crops", "5", expected=worked_out(toys, MultiCrop(32, (37,), 5), RELEASE), **bare)
    assert f"{'resize':>25} : short" in block and f"{'scales':>25} : 37" in block
    code, block, *_ = run(capsys, infer.main, toys.argv("--crops", "5", resize_short_size=50, **bare))
    assert code == 0 and f"{'scales':>25} : 50" in block
    straight = [prepare(toys.images / name, RELEASE) for name in toys.names]
    with paddle.no_grad():
        both = [toys.network(paddle.to_tensor(np.stack([x, x[:, :, ::-1]]))).numpy() for x in straight]
    block, _ = predict("--flip", expected=np.array([softmax(logits, axis=1).mean(0) for logits in both]), **bare)
    assert f"{'resize':>25} : straight" in block


def test_the_release_s_prefixes_are_not_taken():
    for line in (["--c", "7"], ["--class", "7"]):
        args = make_parser("infer.py", "", batch_size=16).parse_args(line)
        assert (args.class_dim, args.crops, args.scales, args.flip) == (7, 1, None, False)

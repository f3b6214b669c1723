"""Several views of an image at test time, beside slow versions of their definitions."""

import re
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

import eval as evaluation
import infer
from tests.helpers.picture_files import picture
from tests.helpers.predict import N_CLASSES, N_IMAGES, RELEASE, TRANSFORM, Toys, prepare, weights_of
from urnet.checkpoints import safetensors_io
from urnet.config.recipe import Transform
from urnet.core import cli
from urnet.data.images.decode import read_image
from urnet.data.images.multi_crop import MultiCrop, mean_probabilities
from urnet.data.images.transforms import eval_transform
from urnet.data.loading import loader
from urnet.inference.cli_flags import make_parser
from urnet.inference.predictor import Predictor

SHAPES = [(36, 48), (48, 36), (101, 67), (32, 32), (33, 512), (1, 900)]


def at_short_side(image, scale):
    """The image with that short side, as OpenCV resizes it."""
    height, width = image.shape[:2]
    factor = scale / min(height, width)
    return cv2.resize(image, (round(width * factor), round(height * factor)))


def five(image, size):
    """The windows at the four corners and in the middle."""
    bottom, right = image.shape[0] - size, image.shape[1] - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [image[top : top + size, left : left + size] for top, left in places]


def inception(image, size):
    """Szegedy et al. 2014, section 7, one scale: three squares, six views of each."""
    side, views = min(image.shape[:2]), []
    for share in (0, 1, 2):
        top = (image.shape[0] - side) * share // 2
        left = (image.shape[1] - side) * share // 2
        square = image[top : top + side, left : left + side]
        views += [*five(square, size), cv2.resize(square, (size, size))]
    return views


def mirrored_too(views):
    """Those, and their mirror images after them."""
    return np.stack([*views, *(view[:, ::-1] for view in views)])


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_views_are_the_windows_they_are_named_after(shape):
    image = picture(*shape)
    small, large = at_short_side(image, 28), at_short_side(image, 40)
    views = MultiCrop(24, (28, 40), 5)(image)
    np.testing.assert_array_equal(views, np.stack(five(small, 24) + five(large, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (28,), 10)(image), mirrored_too(five(small, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (28,), 5, flip=True)(image), mirrored_too(five(small, 24)))
    np.testing.assert_array_equal(MultiCrop(24, (40,), 1, flip=True)(image), mirrored_too(five(large, 24)[4:]))
    scales = (24, 28, 40, 51)
    expected = [view for scale in scales for view in inception(at_short_side(image, scale), 24)]
    np.testing.assert_array_equal(MultiCrop(24, scales, 144)(image), mirrored_too(expected))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_crop_is_the_evaluation_s_view(shape):
    image = picture(*shape)
    short = eval_transform(image, Transform(size=24, eval="short", resize_short=28))
    np.testing.assert_array_equal(MultiCrop(24, (28,))(image), short[None])
    straight = eval_transform(image, Transform(size=24))
    np.testing.assert_array_equal(MultiCrop(24, ())(image), straight[None])
    np.testing.assert_array_equal(MultiCrop(24, (), flip=True)(image), mirrored_too([straight]))


@pytest.mark.parametrize("crops", [1, 5, 10, 144])
@pytest.mark.parametrize("flip", [False, True])
def test_the_number_of_views_is_known_beforehand(crops, flip):
    views = MultiCrop(8, (8, 9, 10, 12), crops, flip)
    assert views(picture(30, 70)).shape == (views.n_views, 8, 8, 3)
    assert views.n_views == {1: 4, 5: 20, 10: 40, 144: 144}[crops] * (2 if flip and crops < 10 else 1)


def test_144_views_of_an_image_differ():
    views = MultiCrop(32, (36, 41, 46, 51), 144)(picture(90, 200))
    assert len(views) == 144 == len({view.tobytes() for view in views})


@pytest.mark.parametrize("wrong", [((28,), 7), ((), 5), ((20,), 1), ((28, 30, 40), 144)])
def test_views_that_cannot_be_cut(wrong):
    with pytest.raises(ValueError, match=r"accepted|crops 144 needs four"):
        MultiCrop(24, *wrong)


@pytest.mark.parametrize("most", [1, 3, 4, 16])
def test_the_mean_is_over_an_image_s_own_views(most):
    views = np.random.default_rng(1).integers(0, 256, (3, 4, 2, 2, 3), np.uint8)
    sizes = []

    def probabilities(images):
        sizes.append(len(images))
        return images.reshape(len(images), -1)[:, :5].astype(np.float32)

    expected = [[np.mean([view.ravel()[c] for view in image]) for c in range(5)] for image in views]
    np.testing.assert_allclose(mean_probabilities(probabilities, views, most), expected)
    assert max(sizes) <= most and sum(sizes) == 12


# --- infer.py and eval.py


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


def worked_out(toys, views, transform=TRANSFORM):
    """(n, C): the mean, over the views, of the network's softmax in float64."""
    toys.network.eval()
    means = []
    for name in toys.names:
        batch = (views(read_image(toys.images / name)) / 255 - transform.mean) / transform.std
        with paddle.no_grad():
            images = paddle.to_tensor(batch.transpose(0, 3, 1, 2).astype(np.float32))
            logits = toys.network(images).numpy().astype(np.float64)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        means.append((e / e.sum(axis=1, keepdims=True)).mean(axis=0))
    return np.array(means)


def run(capsys, main, argv):
    """Exit code, stdout's lines, stderr."""
    code = cli.run(main, argv)
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def scores_of(lines):
    """Scores and classes of infer.py's lines, (n, k) each."""
    found = [re.fullmatch(r"Test-\d+-score: \[(.*)\], class \[(.*)\]", line) for line in lines]
    kept = [match for match in found if match]
    return (np.array([[float(word) for word in match[i].split()] for match in kept]) for i in (1, 2))


def sizes_asked(monkeypatch):
    """The sizes of the batches that predictors are asked for, as they come."""
    sizes, asked = [], Predictor.probabilities

    def probabilities(self, images):
        sizes.append((len(images), self.batch_size))
        return asked(self, images)

    monkeypatch.setattr(Predictor, "probabilities", probabilities)
    return sizes


CASES = {
    "ten": (["--crops", "10"], (36,)),  # the recipe's short side
    "two scales": (["--crops", "10", "--scales", "32,48"], (32, 48)),
    "scales of the centre": (["--scales", "36,40,44"], (36, 40, 44)),
    "mirror": (["--flip"], (36,)),
    "inception": (["--crops", "144"], (37, 41, 46, 50)),
}


@pytest.mark.parametrize("case", CASES)
def test_infer_averages_what_the_network_says_of_the_views(toys, capsys, case):
    flags, scales = CASES[case]
    crops = int(flags[1]) if flags[0] == "--crops" else 1
    views = MultiCrop(32, scales, crops, "--flip" in flags)
    expected = worked_out(toys, views)
    code, lines, err = run(capsys, infer.main, toys.argv(*flags, topk=N_CLASSES))
    scores, classes = scores_of(lines)
    assert (code, len(scores)) == (0, N_IMAGES)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, classes.astype(int), 1), atol=2e-5)
    assert f", {views.n_views} views each" in err


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (16, 2), (64, 0)])
def test_batches_and_workers_do_not_change_the_answers(toys, capsys, batch_size, workers):
    changed = {"crops": 10, "batch_size": batch_size, "workers": workers, "engine": "inference"}
    code, lines, _ = run(capsys, infer.main, toys.argv(**changed, topk=N_CLASSES))
    assert code == 0
    scores, classes = scores_of(lines)
    expected = worked_out(toys, MultiCrop(32, (36,), 10))
    np.testing.assert_allclose(scores, np.take_along_axis(expected, classes.astype(int), 1), atol=2e-5)


@pytest.mark.parametrize(
    ("flags", "batch_size", "at_once"),
    [
        (["--crops", "10"], 16, 10),  # 16 would be filled up with 6 views of nothing
        (["--crops", "10"], 4, 4),
        (["--crops", "5", "--flip"], 23, 20),
        (["--crops", "144"], 16, 16),
        (["--crops", "144"], 10, 10),
        (["--flip"], 64, 22),  # no more views than the 11 images have
        ([], 64, 11),
    ],
)
def test_an_image_is_decoded_once_and_no_pass_is_wasted(toys, capsys, monkeypatch, flags, batch_size, at_once):
    sizes, decoded, decode = sizes_asked(monkeypatch), [], loader.decode

    def counted(data, **how):
        decoded.append(len(data))
        return decode(data, **how)

    monkeypatch.setattr(loader, "decode", counted)
    code, _, _ = run(capsys, infer.main, toys.argv(*flags, batch_size=batch_size))
    assert (code, len(decoded)) == (0, N_IMAGES)
    assert {largest for _, largest in sizes} == {at_once}
    views = 144 if "144" in flags else 10 if "--crops" in flags else 2 if flags else 1
    images = max(1, batch_size // views)
    assert sum(n for n, _ in sizes) == N_IMAGES * views
    assert len(sizes) == -(-views * images // batch_size) * (-(-N_IMAGES // images))


def test_eval_counts_the_mean_s_best_classes(toys, capsys):
    expected = worked_out(toys, MultiCrop(32, (36, 44), 10))
    ranking = np.argsort(-expected, axis=1)
    labels = np.where(np.arange(N_IMAGES) % 3 == 0, ranking[:, 1], ranking[:, 0])
    file = toys.write_list("crops.txt", labels)
    results = []
    for flags in (["--crops", "10"], ["--crops", "5", "--flip"]):
        line = toys.argv(*flags, "--scales", "36,44", img_list=file)
        code, lines, _ = run(capsys, evaluation.main, line)
        assert code == 0
        results.append(lines[-3:])
    assert results[0] == results[1]
    right = ranking[:, 0] == labels
    top1 = np.mean([right[labels == c].mean() for c in np.unique(labels)])
    assert results[0][-1] == f"top1:{top1:.4f} top5:1.0000"
    assert f"image-averaged top1:{right.mean():.4f} top5:1.0000" in "\n".join(lines)


def test_unreadable_images_have_no_views(toys, capsys, tmp_path):
    (tmp_path / "a.png").write_bytes((toys.images / "0.png").read_bytes())
    (tmp_path / "b.png").write_text("no picture")
    flags = {"img_path": tmp_path, "img_list": None, "max_bad": 1}
    for workers in (0, 1):
        code, lines, _ = run(capsys, infer.main, toys.argv("--crops", "5", workers=workers, **flags))
        assert code == 0 and lines[-1] == "Test-1-score: [nan], class []"
        scores, _ = scores_of(lines[:-1])
        expected = worked_out(toys, MultiCrop(32, (36,), 5))[0].max()
        np.testing.assert_allclose(scores, [[expected]], atol=2e-5)


def test_without_a_recipe_s_short_side_it_is_eight_sevenths(toys, capsys, tmp_path):
    safetensors_io.write_safetensors(tmp_path / "bare.safetensors", weights_of(toys.network))
    bare = {"pretrained_model": tmp_path / "bare.safetensors", "model": "ResNeXt_small32"}
    bare.update(class_dim=N_CLASSES, image_shape="3,32,32", topk=N_CLASSES)
    code, lines, _ = run(capsys, infer.main, toys.argv("--crops", "5", **bare))
    assert code == 0
    assert f"{'resize':>25} : short" in lines and f"{'scales':>25} : 37" in lines
    scores, classes = scores_of(lines)
    expected = worked_out(toys, MultiCrop(32, (37,), 5), RELEASE)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, classes.astype(int), 1), atol=2e-5)
    code, lines, _ = run(capsys, infer.main, toys.argv("--crops", "5", resize_short_size=50, **bare))
    assert code == 0 and f"{'scales':>25} : 50" in lines
    code, lines, _ = run(capsys, infer.main, toys.argv("--flip", **bare))
    assert code == 0 and f"{'resize':>25} : straight" in lines
    straight = [prepare(Path(toys.images / name), RELEASE) for name in toys.names]
    with paddle.no_grad():
        both = [toys.network(paddle.to_tensor(np.stack([x, x[:, :, ::-1]]))).numpy() for x in straight]
    expected = np.array([(np.exp(y) / np.exp(y).sum(1, keepdims=True)).mean(0) for y in both])
    scores, classes = scores_of(lines)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, classes.astype(int), 1), atol=2e-5)


BAD = {
    "crops": (["--crops", "7"], r"--crops: found 7; accepted: 1, 5, 10, 144"),
    "no number": (["--scales", "36,a"], r"--scales: found '36,a'; accepted: different short sides"),
    "nothing": (["--scales", ""], r"--scales: found ''; accepted"),
    "twice": (["--scales", "36,36"], r"--scales: found '36,36'; accepted: different"),
    "too large": (["--scales", "36,9000"], r"up to 8192"),
    "too small": (["--scales", "36,31"], r"--scales: found 31; 32 \(--image_shape\) or more"),
    "short side too small": (
        ["--crops", "5", "--resize_short_size", "31"],
        r"--resize_short_size: found 31; 32 \(--image_shape\) or more",
    ),
    "two of four": (["--crops", "144", "--scales", "36,40"], r"found 36,40; --crops 144 takes four"),
    "one of four": (["--crops", "144", "--resize_short_size", "40"], r"--crops 144 takes four short sides"),
    "straight": (["--crops", "10", "--resize", "straight"], r"--resize straight: --crops 10 cuts from"),
    "straight scales": (["--scales", "40", "--resize", "straight"], r"--resize straight: --scales cuts"),
    "both": (["--scales", "40", "--resize_short_size", "40"], r"--scales and --resize_short_size: both"),
    "saved": (["--flip", "--save_inference", "True", "--inference_dir", "{tmp}/m"], r"a saved model answers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(toys, capsys, tmp_path, case):
    flags, message = BAD[case]
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    code, lines, err = run(capsys, infer.main, toys.argv(*flags, output=tmp_path / "out.csv"))
    assert (code, err.count("\n")) == (2, 1), err
    assert re.search(message, err), err
    assert not any(line.startswith("Test-") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_release_s_prefixes_are_not_taken():
    for line in (["--c", "7"], ["--class", "7"]):
        args = make_parser("infer.py", "", batch_size=16).parse_args(line)
        assert (args.class_dim, args.crops, args.scales, args.flip) == (7, 1, None, False)

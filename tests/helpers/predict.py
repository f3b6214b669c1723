"""For the tests of infer.py and eval.py: images, checkpoints, and the probabilities, worked out plainly."""

import itertools
import re
import struct
from pathlib import Path

import cv2
import numpy as np
import paddle
from scipy.special import softmax

import models
from urnet.checkpoints import checkpoint
from urnet.config.duration import Duration
from urnet.config.recipe import Data, Model, Recipe, Transform, dump_recipe
from urnet.config.stage import Stage
from urnet.core import cli

N_CLASSES, N_IMAGES, NETWORK = 7, 11, "ResNeXt_small32"
NAMES = [f"class {c}, toy" for c in range(N_CLASSES)]
TRANSFORM = Transform(size=32, eval="short", resize_short=36, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
RELEASE = Transform(size=32)


def make_images(folder: Path) -> list[str]:
    """PNG files of different sizes with smooth random colours; returns their names, some with a blank."""
    rng = np.random.default_rng(0)
    (folder / "some dir").mkdir(parents=True)
    names = []
    for i in range(N_IMAGES):
        colours = rng.integers(0, 256, (4, 5, 3), np.uint8)
        image = cv2.resize(colours, (70 - 3 * i, 40 + 2 * i), interpolation=cv2.INTER_CUBIC)
        names.append(f"some dir/{i}.png" if i % 2 else f"{i}.png")
        assert cv2.imwrite(str(folder / names[-1]), image)
    return names


def prepare(path: Path, transform: Transform) -> np.ndarray:
    """(3, S, S) float32: what the recipe's words mean, step by step."""
    image = cv2.imread(str(path))[:, :, ::-1]
    height, width = image.shape[:2]
    size = transform.size
    if transform.eval == "short":
        scale = transform.resize_short / min(height, width)
        height, width = round(height * scale), round(width * scale)
        image = cv2.resize(image, (width, height))
        top, left = (height - size) // 2, (width - size) // 2
        image = image[top : top + size, left : left + size]
    else:
        image = cv2.resize(image, (size, size))
    return ((image / 255 - transform.mean) / transform.std).transpose(2, 0, 1).astype(np.float32)


def expected_probabilities(network, folder: Path, names, transform: Transform) -> np.ndarray:
    """Probabilities (n, C) of the network in evaluation mode, float64 softmax."""
    network.eval()
    with paddle.no_grad():
        batch = np.stack([prepare(folder / name, transform) for name in names])
        logits = network(paddle.to_tensor(batch)).numpy().astype(np.float64)
    return softmax(logits, axis=1)


def make_network(folder: Path, names, transform: Transform, name: str = NETWORK, n_classes: int = N_CLASSES):
    """Random weights, and a classifier set so that the predictions differ from image to image."""
    paddle.seed(4)
    network = models.build(name, n_classes)
    network.eval()
    with paddle.no_grad():
        batch = np.stack([prepare(folder / name, transform) for name in names])
        features = network.features(paddle.to_tensor(batch)).numpy()
    weight = np.random.default_rng(2).normal(0, 1, (features.shape[1], n_classes))
    weight *= 1.5 / ((features - features.mean(0)) @ weight).std()
    network.fc.weight.set_value(weight.astype(np.float32))
    network.fc.bias.set_value((-features.mean(0) @ weight).astype(np.float32))
    return network


def weights_of(network) -> dict:
    return {key: value.numpy() for key, value in network.state_dict().items()}


def recipe_of(name: str = NETWORK, transform: Transform = TRANSFORM, **data) -> Recipe:
    """The recipe of a network that was trained in one stage."""
    return Recipe(
        name="toy",
        data=Data(**{"root": ".", "n_classes": N_CLASSES, **data}),
        model=Model(name),
        stages=(Stage(name="class", duration=Duration(1, "epochs")),),
        transform=transform,
    )


def save_checkpoint(folder: Path, network, recipe: Recipe | None = None, class_names=NAMES) -> Path:
    """A checkpoint as the trainer leaves one: weights, recipe, class names."""
    text = dump_recipe(recipe or recipe_of())
    weights = weights_of(network)
    checkpoint.save(folder, weights=weights, state={"step": 1}, recipe_text=text, class_names=class_names)
    return folder


def save_fluid(folder: Path, network) -> Path:
    """The 2018 release's persistables: one file per variable, written byte by byte."""
    folder.mkdir()
    weights = weights_of(network)
    for key, name in network.release_names().items():
        array = np.ascontiguousarray(weights[key], np.float32)
        description = b"\x08\x05" + b"".join(b"\x10" + varint(n) for n in array.shape)
        header = struct.pack("<IQIi", 0, 0, 0, len(description))
        (folder / name).write_bytes(header + description + array.tobytes())
    return folder


def varint(number: int) -> bytes:
    """Protobuf's variable-length integer."""
    groups = []
    while True:
        number, low = number >> 7, number & 127
        groups.append(low | (128 if number else 0))
        if not number:
            return bytes(groups)


class Toys:
    """One folder with images, list, network, checkpoint, and the expected probabilities."""

    def __init__(self, root: Path, name: str = NETWORK) -> None:
        self.root, self.images = root, root / "images"
        self.names = make_images(self.images)
        self.network = make_network(self.images, self.names, TRANSFORM, name)
        self.checkpoint = save_checkpoint(root / "checkpoint", self.network, recipe_of(name))
        self.expected = expected_probabilities(self.network, self.images, self.names, TRANSFORM)
        self.ranking = np.argsort(-self.expected, axis=1)
        self.labels = self.ranking[:, 0].copy()
        self.list = self.write_list("list.txt", self.labels)

    def write_list(self, name: str, labels) -> Path:
        file = self.root / name
        file.write_text("".join(f"{path} {label}\n" for path, label in zip(self.names, labels, strict=True)))
        return file

    def argv(self, *more: str, **changed) -> list[str]:
        """The usual arguments; ``flag=None`` leaves one out, ``flag=value`` changes or adds one."""
        flags = {
            "pretrained_model": self.checkpoint,
            "img_path": self.images,
            "img_list": self.list,
            "use_gpu": False,
            "engine": "dygraph",
            "batch_size": 4,
        }
        flags.update(changed)
        given = [(f"--{name}", str(value)) for name, value in flags.items() if value is not None]
        return [*itertools.chain(*given), *more]


def run(capsys, main, argv):
    """A command's exit code, its block of arguments, the lines of stdout after it, and stderr."""
    code = cli.run(main, argv)
    out, err = capsys.readouterr()
    lines, rule = out.splitlines(), "-" * 52
    end = lines.index(rule) + 1 if rule in lines else 0
    return code, lines[:end], lines[end:], err


def numbers(lines):
    """Classes and scores of infer.py's lines, each (n, k); the lines must be the release's to the letter."""
    classes, scores = [], []
    for i, line in enumerate(lines):
        found = re.fullmatch(rf"Test-{i}-score: \[([-+.e\d ]+)\], class \[([\d ]+)\]", line)
        assert found, line
        scores.append([float(word) for word in found[1].split()])
        classes.append([int(word) for word in found[2].split()])
    return np.array(classes), np.array(scores)

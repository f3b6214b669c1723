"""A checkpoint as a function of images, for scripts: arrays or paths in, probabilities or features out.

Preprocessing is that of the checkpoint's recipe, as in infer.py. Paddle is imported when a checkpoint is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from urnet.checkpoints.checkpoint import CheckpointInfo, describe
from urnet.checkpoints.imagenet import whole_word
from urnet.checkpoints.in_classes import read_reference
from urnet.config.choices import PRECISIONS
from urnet.config.combinations import check_transform
from urnet.config.recipe import Transform
from urnet.core.checks import InputError, check_choice
from urnet.core.top_k import topk
from urnet.data.images.decode import MAX_PIXELS, UnreadableImage, read_image
from urnet.data.images.transforms import eval_transform
from urnet.data.lists.class_names import check_order
from urnet.inference.loaded_network import loaded_network
from urnet.runtime.threads import import_paddle

if TYPE_CHECKING:
    from urnet.inference.predictor import FeatureExtractor, Predictor

Image = np.ndarray | str | Path


class _Top(NamedTuple):
    classes: np.ndarray  # int64 (n, k)
    scores: np.ndarray  # float32 (n, k), probabilities
    names: list[list[str]]  # (n, k), "" where the checkpoint has no names


class Top(_Top):
    """The k most probable classes of n images, best first; equal scores are ordered by class number.

    A triple, with ``in_classes`` next to it: float32 (n,), 0..1, below 0.5 for an image that probably fits none of the
    classes; None where the checkpoint does not know (docs/cli.md).
    """

    in_classes: np.ndarray | None = None


class ImagePredictor:
    """``predictor(images)``: probabilities of a loaded checkpoint. ``load_predictor`` makes one.

    ``images`` is a list (or anything that yields them, one by one) of uint8 RGB arrays (H, W, 3), of any
    sizes, and paths. Arrays are taken as they are, files are decoded and turned as the recipe's ``data.exif``
    says. An image that cannot be read or has another form is an InputError that gives its place: none is left
    out. Images are decoded and computed ``batch_size`` at a time, a smaller batch is filled up: choose 1
    where images come one by one. Not to be shared by threads.

    ``class_names``: a name per class, "" where unknown; ``transform``: what is done with an image.
    """

    def __init__(
        self,
        predictor: Predictor,
        transform: Transform,
        class_names: Sequence[str],
        *,
        exif: str = "honour",
        max_pixels: int = MAX_PIXELS,
        extractor: Callable[[], FeatureExtractor] | None = None,
    ) -> None:
        """``extractor`` makes what ``features`` computes with, when that is first asked for."""
        self.predictor, self.transform, self.class_names = predictor, transform, tuple(class_names)
        self.exif, self.max_pixels = exif, max_pixels
        self._make_extractor = extractor
        self._extractor: FeatureExtractor | None = None

    def __call__(self, images: Iterable[Image]) -> np.ndarray:
        """float32 (n, C); rows sum to 1. ``top`` keeps less where there are many images and classes."""
        none = np.empty((0, len(self.class_names)), np.float32)
        return np.concatenate([none, *map(self.predictor.probabilities, self._batches(images))])

    def features(self, images: Iterable[Image]) -> np.ndarray:
        """The penultimate vectors, float32 (n, d): what the classifier is given.

        The first call prepares the network a second time, for features. Raises InputError where its class has no
        ``features`` method (a network of yours), and as calling the predictor does.
        """
        if self._extractor is None:
            if self._make_extractor is None:
                raise InputError("features: this predictor was made without its network; use load_predictor")
            self._extractor = self._make_extractor()
        found = [self._extractor.features(batch) for batch in self._batches(images)]
        if found:
            return np.concatenate(found)
        size = self.transform.size
        return self._extractor.features(np.zeros((1, size, size, 3), np.uint8))[:0]

    def top(self, images: Iterable[Image], k: int = 1) -> Top:
        """The ``k`` most probable classes of each image, 1 to the number of classes."""
        if not isinstance(k, (int, np.integer)) or not 1 <= k <= len(self.class_names):
            raise InputError(f"k: found {k!r}; 1..{len(self.class_names)} is accepted")
        classes, scores, fits = [np.empty((0, k), np.int64)], [np.empty((0, k), np.float32)], []
        for batch in self._batches(images):
            answers = self.predictor.answers(batch)
            best, score = topk(answers.probabilities, k)
            classes.append(best)
            scores.append(score)
            fits.append(answers.in_classes)
        found = np.concatenate(classes)
        names = [[self.class_names[c] for c in row] for row in found.tolist()]
        top = Top(found, np.concatenate(scores), names)
        known = [values for values in fits if values is not None]
        top.in_classes = np.concatenate(known) if known else None
        return top

    def _batches(self, images: Iterable[Image]) -> Iterator[np.ndarray]:
        """uint8 (b, S, S, 3), b from 1 to the batch size."""
        if isinstance(images, (str, bytes, Path)) or getattr(images, "ndim", 4) == 3:
            raise InputError("images: found a single image; a list is accepted: [image]")
        if not isinstance(images, Iterable):
            raise InputError(f"images: found {type(images).__name__}; a list of images is accepted")
        batch: list[np.ndarray] = []
        for number, image in enumerate(images):
            batch.append(eval_transform(self._pixels(number, image), self.transform))
            if len(batch) == self.predictor.batch_size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    def _pixels(self, number: int, image: Image) -> np.ndarray:
        if isinstance(image, (str, Path)):
            try:
                return read_image(image, exif=self.exif, max_pixels=self.max_pixels)
            except UnreadableImage as error:
                raise InputError(f"images: number {number}, {error}") from None
        try:
            array = np.asarray(image)  # Pillow's images as well
        except (ValueError, TypeError):
            array = np.empty(())
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            found = f"{array.dtype} {array.shape}" if array.ndim else type(image).__name__
            raise InputError(f"images: number {number} is {found}; uint8 (H, W, 3) or a path is accepted")
        return array


def load_predictor(
    checkpoint: str | Path,
    *,
    build: Callable[[str, int], Any],
    model: str | None = None,
    n_classes: int | None = None,
    transform: Transform | None = None,
    class_names: Sequence[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    batch_size: int = 16,
    threads: int | None = None,
) -> ImagePredictor:
    """Load a checkpoint for prediction: all that ``infer.py --pretrained_model`` takes (docs/cli.md).

    Published weights are ``"imagenet:NETWORK"``, or ``"imagenet"`` with ``model``.

    ``build(name, n_classes)`` returns a new network, ``models.build`` or a function of yours. ``model`` and
    ``n_classes`` come from the checkpoint's recipe and must agree with it; without a recipe (a file of
    weights, the 2018 release's folder) they must be given. Precedence for ``transform``: the argument, the
    recipe, the 2018 release's (``Transform()``: straight to 224 x 224); for ``class_names``: the argument,
    the checkpoint's, none. ``device``: auto, cpu, gpu. ``engine``, ``precision``, ``batch_size`` and
    ``threads``: see ``urnet.inference.predictor.Predictor``; starting takes it seconds for large networks.

    Raises InputError for a checkpoint that cannot be read, whose weights do not all fit, or whose network
    ``build`` does not know, and for settings that contradict each other or the machine.
    """
    check_choice("device", device, ("auto", "cpu", "gpu"))
    check_choice("precision", precision, PRECISIONS)
    for argument, number in (("batch_size", batch_size), ("threads", 1 if threads is None else threads)):
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise InputError(f"{argument}: found {number!r}; a whole number above 0 is accepted")
    if transform is not None:
        check_transform(transform, "load_predictor")
    checkpoint = whole_word(checkpoint, model)
    info = describe(checkpoint)
    name, classes = _network(info, checkpoint, model, n_classes)
    names = list(class_names if class_names is not None else info.class_names or [""] * classes)
    if len(names) != classes:
        raise InputError(f"class_names: found {len(names)} names; the network has {classes} classes")
    if info.class_names is not None and len(info.class_names) == classes:
        check_order(names, info.class_names, ["class_names"] * classes, str(info.classes_file))
    import_paddle()
    from urnet.inference.predictor import FeatureExtractor, Predictor, check_precision
    from urnet.nn.in_classes import in_classes_layer
    from urnet.nn.normalise import Normalise
    from urnet.runtime.precision import choose_device

    place = choose_device(device)
    check_precision(engine, precision, place)
    reference = read_reference(checkpoint)
    view = transform or (info.recipe.transform if info.recipe else Transform())

    def network() -> Any:
        return loaded_network(lambda: _built(build, name, classes, checkpoint), str(checkpoint))

    def normalised(of: Any) -> Normalise:
        behind = Normalise(of, view.mean, view.std, in_classes_layer(reference, of, checkpoint))
        behind.eval()
        return behind

    how: dict[str, Any] = {"engine": engine, "precision": precision, "batch_size": batch_size}
    how.update(threads=threads, device=place)

    def extractor() -> FeatureExtractor:
        made = network()
        if not hasattr(made, "features"):
            raise InputError(f"features: {name} of {checkpoint} has no method `features`; networks of `models` have it")
        return FeatureExtractor(normalised(made), view.size, **how)

    predictor = Predictor(normalised(network()), view.size, **how)
    data = info.recipe.data if info.recipe else None
    exif, most = (data.exif, data.max_pixels) if data else ("honour", MAX_PIXELS)
    return ImagePredictor(predictor, view, names, exif=exif, max_pixels=most, extractor=extractor)


def _network(info: CheckpointInfo, checkpoint: str | Path, model: str | None, n_classes: int | None) -> tuple[str, int]:
    """Name and number of classes, from the recipe or the arguments, which must not contradict it."""
    known: dict[str, Any] = {}
    if info.recipe is not None:
        known = {"model": info.recipe.model.name, "n_classes": info.recipe.data.n_classes}
    values = []
    for argument, given in (("model", model), ("n_classes", n_classes)):
        value = known.get(argument, given)
        if value is None:
            raise InputError(f"{argument}: found none; {checkpoint} has no recipe that gives it")
        if given is not None and given != value:
            raise InputError(f"{argument} is {given!r}, but {checkpoint} was trained with {value!r} ({info.told_by})")
        values.append(value)
    return values[0], values[1]


def _built(build: Callable[[str, int], Any], name: str, n_classes: int, checkpoint: str | Path) -> Any:
    """A network of ``build``; one line where it does not know the name."""
    try:
        network = build(name, n_classes)
    except (InputError, LookupError) as error:
        raise InputError(f"{checkpoint}: build does not make its network, {name!r} ({error})") from error
    if not hasattr(network, "state_dict"):
        raise InputError(
            f"{checkpoint}: build({name!r}, {n_classes}) gave {type(network).__name__}; a network is needed"
        )
    return network

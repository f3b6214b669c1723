"""From the flags of infer.py and eval.py to images, network, predictor and loader.

Heavy imports wait until the input has been checked.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from urnet.core.checks import InputError
from urnet.core.cli import is_main
from urnet.core.counted import plural, verb
from urnet.inference.cli_flags import RELEASE_DEFAULTS, check_numbers, complete, parse_scales
from urnet.runtime.threads import cores_per_process, import_paddle

if TYPE_CHECKING:
    from urnet.checkpoints.checkpoint import CheckpointInfo
    from urnet.core.answers import Answers
    from urnet.data.images.multi_crop import MultiCrop
    from urnet.data.lists.class_names import ClassFile
    from urnet.data.lists.image_list import ImageList
    from urnet.data.loading.loader import Loader
    from urnet.inference.predictor import Predictor
    from urnet.reweight.class_centres import ClassCentres
    from urnet.runtime.late_top_k import LateScores
    from urnet.runtime.process_group import ProcessGroup


MOST_WORKERS = 16  # decoding processes per GPU, unless the flag says otherwise


class PredictionJob:
    """Checked flags and what they mean. Making one reads small files only and completes ``args``."""

    def __init__(
        self, args: argparse.Namespace, network_names: Sequence[str], defaults: Mapping[str, Any] = RELEASE_DEFAULTS
    ) -> None:
        from urnet.checkpoints.checkpoint import describe, taken_inside
        from urnet.checkpoints.imagenet import whole_word

        self.args = args
        if args.pretrained_model is None:
            raise InputError("--pretrained_model: found none; a checkpoint folder or weights file is needed")
        check_numbers(args)
        args.pretrained_model = whole_word(args.pretrained_model, args.model)
        self.info: CheckpointInfo = describe(args.pretrained_model)
        told_by = self.info.told_by
        self.transform = complete(args, self.info.recipe, network_names, defaults, told_by=told_by)
        self.class_names, self.class_file = _class_names(args, self.info)
        if self.info.word not in ("", args.pretrained_model) and is_main():
            belongs = "its image transform and class names are used"
            print(f"note: {args.pretrained_model}: is what {self.info.word} means; {belongs}", file=sys.stderr)
        inside = taken_inside(args.pretrained_model)
        if inside and is_main():
            print(f"note: {inside}", file=sys.stderr)
        data = self.info.recipe.data if self.info.recipe else None
        self.exif = data.exif if data else "honour"  # as the 2018 release's cv2.imread did
        self.max_pixels = data.max_pixels if data else 100_000_000
        self.device = "cpu"

    def images(self, *, need_labels: bool) -> ImageList:
        """The images that ``--img_path`` and ``--img_list`` name, all of which exist (unless --max_bad).

        With labels and no list, the sub-folders of ``--img_path`` are classes, by name.
        """
        from urnet.data.lists.build_table import images_under, labelled_folders, one_image, read_image_list
        from urnet.data.lists.class_tree import sub_folders
        from urnet.inference.image_paths import check_image_paths

        args = self.args
        if args.img_path is None:
            raise InputError("--img_path: found none; the folder of the images (infer.py: or one image) is needed")
        check_image_paths(args.img_path, args.img_list, need_labels=need_labels)
        root = Path(args.img_path)
        if args.img_list is not None:
            n_classes = args.class_dim if need_labels else None
            exists = args.max_bad == 0
            return read_image_list(
                args.img_list,
                root,
                n_classes=n_classes,
                class_names=self.class_names,
                spellings=[reading.keys for reading in self.class_file.readings] if self.class_file else (),
                need_labels=need_labels,
                check_exists=exists,
            )
        if need_labels:
            if not self.class_names:
                raise InputError(
                    "--img_list: found none; a file of `path label` lines is needed, or class names"
                    " (--class_names), which must then be the names of the sub-folders of --img_path"
                )
            names = self.class_names
            if self.class_file is not None:  # which may know classes by synsets' identifiers, too
                names = self.class_file.reading_for(sub_folders(root)).keys
            source = args.class_names or args.pretrained_model
            remedy = "give the classes other names with --class_names FILE (one per line, in the network's order)"
            return labelled_folders(root, names, f"class of {source}", remedy)
        return one_image(root) if root.is_file() else images_under(root)

    def find_weights(self) -> None:
        """Download published weights that are not on this machine. Raises InputError where they cannot be had."""
        from urnet.checkpoints.locate import locate

        locate(self.args.pretrained_model)

    def start(self, build: Callable[[str, int], Any]) -> None:
        """Import Paddle and choose the device; ``build(name, n_classes)`` makes the network when needed."""
        self._note_other_names()
        import_paddle()
        import paddle

        from urnet.inference.predictor import check_precision

        args = self.args
        self.device = _device(args.use_gpu)
        check_precision(args.engine, args.precision, self.device)
        if getattr(args, "save_inference", False):
            # the written model runs on the CPU, and is refused where the network's own predictions are not as near as
            # those of a GPU with TF32 may be
            self.device = "cpu"
        paddle.set_device(self.device)
        self.build = build

    def _note_other_names(self) -> None:
        """Say on stderr that ``--class_names`` calls classes otherwise than the checkpoint does."""
        if (
            self.class_file is None
            or self.args.class_names is None
            or len(self.info.class_names or []) != len(self.class_names)
        ):
            return
        from urnet.data.lists.class_names import same_name

        known = self.info.class_names or []
        other = [c for c, name in enumerate(known) if name and same_name(name) != same_name(self.class_names[c])]
        if other and is_main():
            c, source = other[0], self.info.classes_file
            print(
                f"note: {self.args.class_names}: class {c} is {self.class_names[c]!r}, but {known[c]!r} in {source}; "
                f"{len(other)} of {len(known)} names {verb(len(other), 'differs', 'differ')}, and the names in the "
                "file are used",
                file=sys.stderr,
            )

    @functools.cached_property
    def normalised(self) -> Any:
        """The network with its weights, behind the normalisation; made when it is first asked for."""
        from urnet.inference.loaded_network import loaded_network
        from urnet.nn.in_classes import in_classes_layer
        from urnet.nn.normalise import Normalise

        args = self.args
        network = loaded_network(lambda: self.build(args.model, args.class_dim), args.pretrained_model)
        fits = in_classes_layer(self.reference, network, args.pretrained_model)
        normalised = Normalise(network, self.transform.mean, self.transform.std, fits)
        normalised.eval()
        return normalised

    @functools.cached_property
    def reference(self) -> ClassCentres | None:
        """What the checkpoint knows of where its classes lie; None: predictions have no in_classes."""
        from urnet.checkpoints.in_classes import read_reference

        return read_reference(self.args.pretrained_model)

    def notes(self) -> dict[str, Any]:
        """What must be known to use the network elsewhere: the words of ``signature.json``."""
        t = self.transform
        return {
            "model": self.args.model,
            "resize": t.eval,
            "resize_short_size": t.resize_short,
            "mean": t.mean,
            "std": t.std,
            "exif": self.exif,
            "class_names": self.class_names,
        }

    def processes(self) -> contextlib.AbstractContextManager[ProcessGroup]:
        """The processes that share the images (after ``start``); one, unless the launcher started more."""
        from urnet.runtime.process_group import open_process_group

        return open_process_group(self.device)

    @functools.cached_property
    def views(self) -> MultiCrop | None:
        """The several views of an image that the flags ask for; None: the one view of ``transform``."""
        from urnet.data.images.multi_crop import MultiCrop

        args, t = self.args, self.transform
        scales: tuple[int, ...] = (t.resize_short,) if t.eval == "short" else ()
        if args.scales is not None:
            scales = parse_scales(args.scales)
        views = MultiCrop(t.size, scales, args.crops, args.flip)
        return views if args.scales is not None or views.n_views > 1 else None

    @property
    def n_views(self) -> int:
        """Views an image."""
        return 1 if self.views is None else self.views.n_views

    @property
    def images_a_batch(self) -> int:
        """Images a batch of the loader, so that their views fill the network's batches."""
        return max(1, self.args.batch_size // self.n_views)

    def predictor(self, n_images: int) -> Predictor:
        """The predictor that the flags describe; its batches are no larger than there are views."""
        from urnet.inference.predictor import Predictor
        from urnet.inference.program_cache import ProgramSource

        args, t = self.args, self.transform
        code = Path(inspect.getfile(self.build)).parent
        source = ProgramSource(args.pretrained_model, args.model, args.class_dim, t.size, t.mean, t.std, code)
        return Predictor(
            lambda: self.normalised,
            t.size,
            engine=args.engine,
            precision=args.precision,
            batch_size=self._views_at_once(n_images),
            device=self.device,
            source=source,
        )

    def _views_at_once(self, n_images: int) -> int:
        """At most ``--batch_size``, and the views of a batch in parts of equal size: 9 x 16 of 144."""
        views = min(self.images_a_batch, n_images) * self.n_views
        return -(-views // -(-views // self.args.batch_size))

    def answers(self, predictor: Predictor) -> Callable[[np.ndarray], Answers] | LateScores:
        """The function from a batch of the loader to what is said of it, the mean over an image's views; where a GPU
        computes, what begins it there."""
        late = predictor.launcher()
        if late is not None:
            return late
        if self.views is None:
            return predictor.answers
        from urnet.core.answers import mean_answers

        return lambda images: mean_answers(predictor.answers, images, predictor.batch_size)

    def loader(self, images: ImageList, group: ProcessGroup) -> Loader:
        """This process's share of the images' batches of ``--batch_size``, decoded ahead."""
        from urnet.data.loading.loader import ImageSource, Loader
        from urnet.inference.gather import share

        source = ImageSource(
            images.path, self.transform, train=False, exif=self.exif, max_pixels=self.max_pixels, views=self.views
        )
        workers = self.args.workers
        if workers is None:
            workers = 0 if self.device == "cpu" else min(MOST_WORKERS, cores_per_process())
        return Loader(source, share(batches(len(images), self.images_a_batch), group), workers=workers)

    def print_speed(
        self, n_images: int, start_seconds: float, seconds: float, predictor: Predictor, unreadable: int
    ) -> None:
        """One line on stderr, of process 0."""
        if not is_main():
            return
        rate = f"{plural(n_images, 'image')} in {seconds:.1f} s ({n_images / seconds:.1f} images/s)"
        if self.n_views > 1:
            rate += f", {self.n_views} views each"
        start = f"start-up {start_seconds:.1f} s, engine {predictor.engine}"
        print(f"{rate}, {unreadable} unreadable; {start}", file=sys.stderr)


def batches(n_rows: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """(0, rows) for rows 0..n_rows-1 in order, ``size`` at a time; the last batch may be smaller."""
    for start in range(0, n_rows, size):
        yield 0, np.arange(start, min(start + size, n_rows))


def _class_names(args: argparse.Namespace, info: CheckpointInfo) -> tuple[list[str], ClassFile | None]:
    """``--class_names``, else the checkpoint's, else none; and the file of ``--class_names``."""
    names, source = info.class_names or [], str(info.classes_file)
    fits = len(names) in (0, args.class_dim)
    if args.class_names is None and not fits:
        raise InputError(f"{source}: has {len(names)} class names, but class_dim is {args.class_dim}")
    from urnet.data.lists.class_names import read_class_file

    if args.class_names is None and info.imagenet:  # folders and lists may have WordNet's identifiers
        return names, read_class_file(source)
    if args.class_names is None:
        return names if any(names) else [], None
    file = read_class_file(args.class_names, args.class_dim)
    if not any(names) or not fits:
        return file.names, file
    file.check_order(names, source)
    return (file.agreeing(names) or file.readings[0]).names, file


def _device(use_gpu: bool) -> str:
    """cpu or gpu; one line on stderr where a GPU was asked for and none can be used."""
    import paddle

    from urnet.runtime.precision import has_gpu

    if not use_gpu or has_gpu():
        return "gpu" if use_gpu else "cpu"
    why = "finds no GPU" if paddle.is_compiled_with_cuda() else "is a build without CUDA"
    if is_main():
        print(f"note: computing on the CPU, as this Paddle {why} (--use_gpu False hides this line)", file=sys.stderr)
    return "cpu"

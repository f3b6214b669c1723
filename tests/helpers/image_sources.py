"""Small image files and image sources with faults, which worker processes can import."""

import os
import time
from pathlib import Path

from tests.helpers.picture_files import encode, picture
from urnet.config.recipe import Transform
from urnet.data.loading.loader import ImageSource

TRANSFORM = Transform(size=16, jitter=0.3, trivial_augment=True, erasing=0.5)


def make_files(folder):
    """Forty small JPEGs; number 7 is cut off, number 23 is missing. Their paths."""
    paths = [str(folder / f"{i:02}.jpg") for i in range(40)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(encode(".jpg", picture(30, 40, seed=i)))
    Path(paths[7]).write_bytes(Path(paths[7]).read_bytes()[:-30])
    Path(paths[23]).unlink()
    return paths


def make(kind, files, **options):
    """A training source of the kind over the files."""
    return kind(files.__getitem__, TRANSFORM, **{"train": True, "seed": 5, **options})


class Slow(ImageSource):
    """Takes 20 ms per image."""

    def view(self, path, row, draw):
        time.sleep(0.02)
        return super().view(path, row, draw)


class Faulty(ImageSource):
    """Raises ``error`` at row 11."""

    error: BaseException

    def view(self, path, row, draw):
        if row == 11:
            raise self.error
        return super().view(path, row, draw)


class Unpicklable(Exception):
    """An exception that cannot be pickled."""

    def __reduce__(self):
        raise TypeError("not to be pickled")


class RaisesUnpicklable(ImageSource):
    """Raises Unpicklable at every row."""

    def view(self, path, row, draw):
        raise Unpicklable("its own words")


class Exits(ImageSource):
    """Ends the worker that it is sent to."""

    def __setstate__(self, state):
        os._exit(9)


class Stuck(ImageSource):
    """Cannot be rebuilt in another process."""

    def __setstate__(self, state):
        raise ValueError("cannot be rebuilt")

"""The features that a network has for images, all in memory."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from urnet.core.checks import InputError


def features_of(setup: Any, images: Any, title: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, d) in the evaluation's view, and which images could be read (the others' rows are 0).

    ``setup``: a started ``predict_cli.Setup``. Raises InputError for more than ``--max_bad`` unreadable
    images, and for features that are not finite.
    """
    import paddle

    from urnet.core.progress import Progress
    from urnet.evaluation.loop import bad_images_message
    from urnet.runtime.process_group import SINGLE_PROCESS

    loader, good, found = setup.loader(images, SINGLE_PROCESS), np.ones(len(images), bool), []
    with contextlib.closing(loader), Progress(title, len(images)) as shown, paddle.no_grad():
        for batch in loader:
            good[batch.rows] = batch.readable
            if (~good).sum() > setup.args.max_bad:
                raise InputError(bad_images_message(loader.bad, int((~good).sum()), setup.args.max_bad))
            values = setup.normalised.features(paddle.to_tensor(batch.images)).astype("float32").numpy()
            if not np.isfinite(values).all():
                row = int(batch.rows[np.argmin(np.isfinite(values).all(axis=1))])
                raise InputError(f"{images.path(row)}: the network's features of it are not finite")
            found.append(np.where(batch.readable[:, None], values, np.float32(0)))
            shown.update(len(batch.rows))
    return np.concatenate(found), good

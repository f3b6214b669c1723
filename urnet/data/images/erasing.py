"""Random erasing (Zhong et al., Random Erasing Data Augmentation, AAAI 2020): a box of the view shows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urnet.data.images.random_box import random_resized_box

AREA, RATIO = (0.02, 0.33), (0.3, 3.3)  # share of the image; width / height


def erase(image: np.ndarray, mean: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """A copy of ``image``, uint8 (H, W, 3), in which a random box is filled with the colour ``mean`` of values 0..1.

    The box's area is U(AREA) of the image's, its ratio exp(U(log RATIO)), its place uniform (``random_resized_box``;
    the paper draws the ratio itself evenly, torchvision and timm its logarithm). ``mean``, rounded to a grey level, is
    what the network's normalisation makes 0: the paper's RE-M; its RE-R, random values, costs more and did as well.
    """
    erased = image.copy()
    box = random_resized_box(image.shape[0], image.shape[1], AREA, RATIO, rng)
    erased[box] = np.rint(255 * np.asarray(mean, np.float64))
    return erased

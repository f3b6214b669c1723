"""JPEG files for measurements: random crops of scikit-learn's two photographs, the same ones every time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

QUALITY = 90
WEB = (500, 375)  # width and height of a usual web image


def write_photographs(folder: Path, n: int, crop: tuple[int, int] = WEB, *, scale: float = 1) -> list[Path]:
    """``n`` files in ``folder``: crops of ``crop`` (width, height) pixels, resized to ``scale`` times that."""
    from sklearn.datasets import load_sample_images

    photographs, rng, (width, height) = load_sample_images().images, np.random.default_rng(0), crop
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i:06d}.jpg" for i in range(n)]
    for i, file in enumerate(files):
        photograph = photographs[i % len(photographs)]
        top, left = (int(rng.integers(margin + 1)) for margin in np.subtract(photograph.shape[:2], (height, width)))
        image = np.ascontiguousarray(photograph[top : top + height, left : left + width, ::-1])
        if scale != 1:
            how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
        cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return files

"""Whether two small pictures show the same: one is laid over the other, and their details are compared."""

from __future__ import annotations

import numpy as np

_STEPS = {2: 15, 1: 12}  # of the alignment: at half the size, then at the full
_PRECISION = 1e-3
_COARSE, _FINE = 6.0, 3.0  # pixels: shades wider than these do not count, in aligning and in comparing
_PROMISING = 0.7  # correlation at half the size from which on the full size is looked at: copies have 0.8 and more
_LEAST_SHARED, _MOST_STRETCHED = 0.6, 1.3  # of the area, when one lies over the other; of a side
_FLAT, _SAME_GREY = 2.0, 4.0  # grey levels: below the first there is no detail, up to the second greys are equal


def overlay(first: np.ndarray, second: np.ndarray, enough: float = 1.0) -> float:
    """Correlation, -1 to 1, of the details of two grey pictures, uint8 (S, S), S even, once one is laid over the other.

    The one is moved, stretched and turned a little until it fits best, at half the size, then at the full (Evangelidis
    and Psarakis 2008's enhanced correlation coefficient, OpenCV's ``findTransformECC``); both lose shades wider than 3
    pixels (a Gaussian), and what they share is correlated (ours). So a cut, a stretched or a recompressed copy comes
    to about 0.95, while two trousers on the same wall, which a network and a hash take for each other, stay below 0.9.
    Laid over the other way round, too, unless the first gives ``enough``; the larger counts. 1 for two pictures without
    detail of equal grey, 0 where nothing fits.
    """
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    if min(a.std(), b.std()) < _FLAT:
        return float(max(a.std(), b.std()) < _FLAT and abs(a.mean() - b.mean()) <= _SAME_GREY)
    found = _laid_over(a, b)
    return found if found >= enough else max(found, _laid_over(b, a))


def _laid_over(a: np.ndarray, b: np.ndarray) -> float:
    move, fit = np.eye(2, 3, dtype=np.float32), 0.0
    for part in _STEPS:
        x, y = (_smaller(picture, part) for picture in (a, b))
        fit, move = _aligned(x, y, move, part)
        if fit < _PROMISING:
            break
        move[:, 2] = part * move[:, 2] + (part - 1) / 2 * (move[:, :2].sum(1) - 1)  # from pixel centre to pixel centre
    return fit


def _aligned(a: np.ndarray, b: np.ndarray, move: np.ndarray, part: int) -> tuple[float, np.ndarray]:
    """How well ``b`` fits ``a``, from ``move`` on, and by which movement. Sides are 1 / ``part`` of the pictures'."""
    import cv2

    stop = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS[part], _PRECISION
    x, y = _details(a, _COARSE / part), _details(b, _COARSE / part)
    try:
        _, move = cv2.findTransformECC(x, y, move, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # it does not converge: they have nothing in common
        return 0.0, move
    stretched = np.linalg.svd(move[:, :2], compute_uv=False)
    if stretched[0] > _MOST_STRETCHED or stretched[1] < 1 / _MOST_STRETCHED:
        return 0.0, move
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, move, a.shape[::-1], flags=way, borderMode=cv2.BORDER_REPLICATE)
    shared = cv2.warpAffine(np.ones_like(b), move, a.shape[::-1], flags=way) > 0.99
    if shared.mean() < _LEAST_SHARED:
        return 0.0, move
    x, y = (_details(picture, _FINE / part)[shared] for picture in (a, moved))
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / max(np.sqrt((x @ x) * (y @ y)), 1e-6)), move


def _smaller(picture: np.ndarray, part: int) -> np.ndarray:
    import cv2

    return picture if part == 1 else cv2.resize(picture, None, fx=1 / part, fy=1 / part, interpolation=cv2.INTER_AREA)


def _details(picture: np.ndarray, widest: float) -> np.ndarray:
    import cv2

    return picture - cv2.GaussianBlur(picture, (0, 0), widest)

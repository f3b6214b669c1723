"""Mixup: each image and its targets blended with those of another row."""

from __future__ import annotations

import numpy as np
import paddle

from urnet.core.seeds import MIXUP, draw_key


class Mixup:
    """One step's mixup (Zhang et al. 2018): row i becomes lam * row i + (1 - lam) * row partner[i].

    ``lam`` ~ Beta(alpha, alpha), one per step, and ``partner``, a permutation of the step's rows, are a
    function of (seed, stage, step). Of several processes each mixes its own rows: ``partner`` then depends on
    its ``rank`` as well. Images and weighted targets w_i t_i are mixed alike. So a weight goes
    with its own label and a row without weight (an unreadable image) lends none; Σ w is unchanged.
    """

    def __init__(self, alpha: float, n_rows: int, *, seed: int, stage: str, step: int, rank: int = 0) -> None:
        rng = np.random.default_rng([MIXUP, seed, draw_key(stage, step)])
        self.lam = float(rng.beta(alpha, alpha))
        if rank > 0:
            rng = np.random.default_rng([MIXUP, seed, draw_key(stage, step), rank])
        self.partner = rng.permutation(n_rows)

    def mix(self, own: paddle.Tensor, partners: paddle.Tensor) -> paddle.Tensor:
        """lam * own + (1 - lam) * partners, float32."""
        return self.lam * own.astype("float32") + (1 - self.lam) * partners.astype("float32")

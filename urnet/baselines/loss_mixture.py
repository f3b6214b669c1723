"""Which labels are probably right: two normal distributions fitted to the losses of all rows (DivideMix)."""

from __future__ import annotations

import warnings

import numpy as np

MAX_STEPS, TOLERANCE, LEAST_VARIANCE = 10, 1e-2, 5e-4  # the released code's


def clean_probability(losses: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N,) float32 in [0, 1]: the probability that each row is of the component with the smaller mean loss.

    ``losses`` (N,) finite, nan where a row has none, which gets 0. They are moved to 0..1 and a mixture of two normal
    distributions is fitted by expectation maximisation (Li, Socher and Hoi 2020, after Arazo et al. 2019; 10
    iterations at most, tolerance 0.01, 5e-4 added to variances, as in the released code). Equal losses tell nothing:
    then, and of fewer than two rows, all are 1 (ours).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    clean, known = np.zeros(len(losses), np.float32), np.isfinite(losses)
    values = losses[known].astype(np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        clean[known] = 1
        return clean
    scaled = ((values - values.min()) / np.ptp(values)).reshape(-1, 1)
    mixture = GaussianMixture(2, max_iter=MAX_STEPS, tol=TOLERANCE, reg_covar=LEAST_VARIANCE, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 10 iterations are what is asked for
        found = mixture.fit(scaled).predict_proba(scaled)
    clean[known] = found[:, int(mixture.means_.argmin())]
    return clean

"""Made-up rows of a web data set: what the reweightings are computed from."""

import numpy as np

N_CLASSES = 9
SHARES = [0.4, 0.2, 0.15, 0, 0.1, 0, 0.1, 0.04, 0.01]  # class 3 has no row, class 5 is given one


def web_rows(n=600, k=4, seed=0):
    """Arrays of ``n`` rows: labels, features, a network's ``k`` best classes and evidence, with ties."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(N_CLASSES, n, p=SHARES).astype(np.int32)
    labels[n // 2] = 5
    kind = rng.integers(0, 3, n)  # every class has three kinds of images, later ones recognised worse
    features = rng.normal(size=(N_CLASSES, 3, 12))[labels, kind] + 0.8 * rng.normal(size=(n, 12))
    copies = rng.choice(n, n // 5, replace=False)
    features[copies] = features[rng.permutation(copies)]
    full = 0.7 * rng.dirichlet(np.full(N_CLASSES, 0.3), n)
    full[np.arange(n), labels] += 0.6 * rng.random(n) / (1 + kind)
    full /= full.sum(axis=1, keepdims=True)
    full[labels == 8] = np.roll(np.sort(full[labels == 8]), 5, axis=1)  # class 8 is never the likeliest
    index = np.argsort(-full, axis=1)[:, :k].astype(np.int32)
    rank_known = (rng.random(n) < 0.8) & (labels != 4)  # a class without any rank
    return {
        "labels": labels,
        "features": features.astype(np.float16),
        "index": index,
        "prob": np.take_along_axis(full, index, 1).astype(np.float16),
        "given": full[np.arange(n), labels].astype(np.float32),
        "text": np.where(labels == 6, 0.1, rng.choice([0.0, 0.5, 1.0], n)),  # class 6: all say the same
        "text_known": rng.random(n) < 0.6,
        "rank": np.round(rng.random(n), 1),
        "rank_known": rank_known,
    }


def two_rows():
    """What a network says of two rows of two classes, undecided."""
    return {
        "labels": np.array([0, 1]),
        "index": np.array([[0, 1], [1, 0]]),
        "prob": np.array([[0.5, 0.5]] * 2),
        "given": np.array([0.5, 0.5]),
    }


class Recorder:
    """Rows that are given out in slices or ascending numbers only; notes the most asked for at once."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.largest = rows, rows.shape, rows.dtype, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        self.largest = max(self.largest, len(self.rows[rows]))
        return self.rows[rows]

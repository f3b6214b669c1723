"""Find wrong labels: change a tenth of the labels of scikit-learn's digits, and find them again by their features.

    python examples/find_wrong_labels.py

For your own data take `features` (N, d) of any network and `labels` (N,) as they were given.
"""

import numpy as np
from sklearn.datasets import load_digits

import urnet


def main() -> None:
    """Change labels, look for them, print how many of the first suspects are really wrong."""
    features, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    labels = truth.copy()
    wrong = rng.choice(len(labels), len(labels) // 10, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10

    found = urnet.label_quality(features.astype(np.float32), labels, n_classes=10)
    for n in (50, 100, len(wrong)):
        rows = urnet.most_suspect(found["score"], n)
        hits = np.isin(rows, wrong).mean()
        right = (found["suggested"][rows] == truth[rows]).mean()
        print(f"of the {n} most suspect labels {hits:.0%} are wrong; the suggested label is right for {right:.0%}")
    weight = found["instance_weight"]  # for drawing rows in training
    print(f"a wrong row weighs {weight[wrong].mean():.2f}, another {np.delete(weight, wrong).mean():.2f}")


if __name__ == "__main__":
    main()

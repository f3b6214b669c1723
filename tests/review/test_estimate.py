"""How many labels are left wrong: laws, and its error where the truth is known because it was drawn."""

import numpy as np

from urnet.review.estimate import WrongLabels


def drawn(a, b, n=3000, seed=0):
    """Label qualities with four decimals, the lowest first, and which labels are wrong: P = sigmoid(a - b logit)."""
    rng = np.random.default_rng(seed)
    quality = np.sort(np.round(rng.beta(0.6, 0.9, n), 4))
    inside = np.clip(quality, 1e-4, 1 - 1e-4)
    p = 1 / (1 + np.exp(-(a - b * np.log(inside / (1 - inside)))))
    return quality, rng.random(n) < p


def test_before_a_decision_it_is_what_the_verdicts_say_and_after_the_last_nothing():
    quality, wrong = drawn(-2, 1)
    model, everything = WrongLabels(quality, 500.0), np.ones(len(quality), bool)
    start = model.left(~everything, wrong)
    assert abs(start.wrong - 500) < 1e-6 and start.low < 500 < start.high and start.rows == 3000
    assert model.left(everything, wrong) == (0, 0, 0, 0)
    assert WrongLabels(quality[:0], 0.0).left(everything[:0], wrong[:0]) == (0, 0, 0, 0)
    assert WrongLabels(np.zeros(1), 0.0).left(~everything[:1], wrong[:1]).high <= 1


def test_neither_the_order_of_rows_nor_what_is_said_of_undecided_ones_matters():
    quality, wrong = drawn(-2, 1)
    decided = np.arange(len(quality)) % 7 == 0
    found = WrongLabels(quality, 500.0).left(decided, wrong)
    assert WrongLabels(quality, 500.0).left(decided, wrong & decided) == found
    order = np.random.default_rng(1).permutation(len(quality))
    np.testing.assert_allclose(WrongLabels(quality[order], 500.0).left(decided[order], wrong[order]), found)


def test_labels_that_are_all_right_or_all_wrong_end_the_doubt():
    quality = np.repeat(0.5, 1000)
    decided = np.arange(1000) < 800
    right = WrongLabels(quality, 300.0).left(decided, np.zeros(1000, bool))
    assert right.wrong < 2 and right.high < 5
    assert WrongLabels(quality, 300.0).left(decided, np.ones(1000, bool)).wrong > 195


def test_its_error_and_how_often_the_range_holds_the_truth():
    """Going down the list: 12 worlds, whose verdicts call 0.6 to 1.6 times as many labels wrong as there are."""
    errors = {300: [], 900: [], 1500: []}
    inside = []
    for seed in range(12):
        a, b = -3 + seed % 4, (0.75, 1.0, 1.25)[seed % 3]
        quality, wrong = drawn(a, b, seed=seed)
        model = WrongLabels(quality, wrong.sum() * (0.6, 1.0, 1.6)[seed // 4])
        for k in errors:
            decided = np.arange(len(quality)) < k
            found, true = model.left(decided, wrong), int(wrong[~decided].sum())
            errors[k].append(abs(found.wrong - true) / wrong.sum())
            inside.append(found.low <= true <= found.high)
    means = {k: float(np.mean(values)) for k, values in errors.items()}
    assert means[300] > means[900] > means[1500]
    assert means[300] < 0.25 and means[900] < 0.08 and means[1500] < 0.03
    assert np.mean(inside) > 0.75

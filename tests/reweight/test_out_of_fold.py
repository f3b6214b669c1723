"""Out-of-fold probabilities: against scikit-learn, folds that do not leak, planted wrong labels."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from tests.helpers.web_rows import Recorder
from urnet.core.checks import InputError
from urnet.reweight.evidence.folds import fold_of_rows, hashes_and_mean
from urnet.reweight.evidence.out_of_fold import SHRINKAGES, out_of_fold


def blobs(n=900, n_classes=5, d=12, apart=1.2, wrong=0.0, seed=0):
    """Features around class centres far from the origin, labels of which some are wrong, true classes."""
    rng = np.random.default_rng(seed)
    true = rng.choice(n_classes, n, p=np.r_[0.4, np.full(n_classes - 1, 0.6 / (n_classes - 1))])
    centres = rng.standard_normal((n_classes, d)) * apart
    features = (50 + centres[true] + rng.standard_normal((n, d))).astype(np.float32)
    shift = np.where(rng.random(n) < wrong, rng.integers(1, n_classes, n), 0)
    return features, (true + shift) % n_classes, true


def folds_of(features, labels, folds, seed=0):
    return fold_of_rows(hashes_and_mean(features, seed)[0], labels, folds)


def dense(result, n_classes):
    out = np.zeros((len(result["given"]), n_classes))
    np.put_along_axis(out, result["index"].astype(int), result["prob"].astype(float), axis=1)
    return out


@pytest.mark.parametrize("balanced", [True, False])
def test_agrees_with_scikit_learns_discriminant_analysis(balanced):
    """Fold by fold; the temperature is our own, so the best one is looked for."""
    features, labels, _ = blobs(n=4000)
    got = out_of_fold(features, labels, 5, folds=3, balanced=balanced, shrinkage=0.0)
    fold = folds_of(features, labels, 3)
    priors = np.full(5, 0.2) if balanced else None
    logits = np.empty((len(labels), 5))
    for f in range(3):
        model = LinearDiscriminantAnalysis(solver="lsqr", priors=priors)
        model.fit(features[fold != f].astype(np.float64), labels[fold != f])
        logits[fold == f] = model.decision_function(features[fold == f].astype(np.float64))
    own = np.arange(len(labels)), labels
    losses = {
        t: np.mean(np.abs(np.exp(log_softmax(logits / t, 1))[own] - got["given"])) for t in np.arange(0.8, 1.3, 0.01)
    }
    assert min(losses.values()) < 0.004  # the small-sample term is ours


def test_shapes_and_the_same_bytes():
    features, labels, _ = blobs()
    got = out_of_fold(features, labels, 7, k=9)
    assert {name: (v.dtype.str[1:], v.shape) for name, v in got.items()} == {
        "given": ("f4", (900,)),
        "index": ("i4", (900, 7)),
        "prob": ("f2", (900, 7)),
    }
    np.testing.assert_allclose(got["prob"].sum(1, dtype=float), 1, atol=2e-3)
    assert (got["prob"][:, 5:] == 0).all()  # classes without rows
    assert (np.diff(got["prob"].astype(float), axis=1) <= 0).all()
    np.testing.assert_allclose(dense(got, 7)[np.arange(900), labels], got["given"], atol=1e-3)
    again = out_of_fold(features, labels, 7, k=9)
    assert all(again[name].tobytes() == got[name].tobytes() for name in got)
    short = out_of_fold(features, labels, 7, k=2)
    assert (short["index"] == got["index"][:, :2]).all()


def test_permuted_rows_give_permuted_answers():
    features, labels, _ = blobs(wrong=0.3)
    order = np.random.default_rng(1).permutation(len(labels))
    one, other = (out_of_fold(features[o], labels[o], 5) for o in (np.arange(len(labels)), order))
    np.testing.assert_allclose(other["given"], one["given"][order], atol=1e-4)
    np.testing.assert_allclose(dense(other, 5), dense(one, 5)[order], atol=2e-3)


def test_small_blocks_and_array_likes_give_the_same():
    features, labels, _ = blobs()
    features = features.astype(np.float16)

    whole = out_of_fold(features, labels, 5)
    parts = out_of_fold(Recorder(features), labels, 5, block_cells=12 * 70)
    np.testing.assert_allclose(parts["given"], whole["given"], atol=1e-4)
    assert np.mean(parts["index"] == whole["index"]) > 0.999


def test_no_row_is_scored_by_a_head_that_saw_it():
    """With more dimensions than rows a head knows its rows by heart: random labels would look certain."""
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((200, 300)).astype(np.float32), rng.integers(2, size=200)
    got = out_of_fold(features, labels, 2, shrinkage=0.01)
    assert abs(np.mean(got["index"][:, 0] == labels) - 0.5) < 0.15


def test_folds_keep_duplicates_together_and_are_stratified():
    features, labels, _ = blobs()
    doubled, twice = np.concatenate([features, features[:300]]), np.r_[labels, (labels[:300] + 1) % 5]
    fold = folds_of(doubled, twice, 4)
    assert (fold[:300] == fold[900:]).all()  # under other labels too
    plain = folds_of(features, labels, 4)
    for c in range(5):
        assert np.ptp(np.bincount(plain[labels == c], minlength=4)) <= 1
    order = np.random.default_rng(2).permutation(1200)
    assert (folds_of(doubled[order], twice[order], 4) == fold[order]).all()
    assert (folds_of(features, labels, 4, seed=1) != plain).any()


def test_planted_wrong_labels_are_separated_from_right_ones():
    features, labels, true = blobs(n=1500, apart=4.0, wrong=0.3)
    got = out_of_fold(features, labels, 5)
    wrong = labels != true
    assert got["given"][~wrong].min() > got["given"][wrong].max()  # every right row above every wrong one
    assert (got["index"][:, 0] != true).sum() <= 1  # calibrated with class biases, one row of 1,500 goes astray


def test_weights_and_soft_targets_teach_the_head():
    features, labels, true = blobs(n=1200, apart=1.0, wrong=0.4)
    plain = out_of_fold(features, labels, 5)
    weighted = out_of_fold(features, labels, 5, sample_weight=np.where(labels == true, 1.0, 0.0))
    soft = out_of_fold(features, labels, 5, targets=(np.stack([labels, true], 1), np.tile([0.0, 1.0], (1200, 1))))
    right = [np.mean(result["index"][:, 0] == true) for result in (plain, weighted, soft)]
    assert right[1] >= right[0] and right[2] >= right[0]
    hard = out_of_fold(features, labels, 5, targets=(labels[:, None], np.ones((1200, 1))))
    np.testing.assert_allclose(hard["given"], plain["given"], atol=1e-5)
    heavier = out_of_fold(features, labels, 5, sample_weight=np.full(1200, 3.0))
    np.testing.assert_allclose(heavier["given"], plain["given"], atol=1e-4)


def test_what_cannot_be_scored_gets_the_prior():
    features, labels, _ = blobs(n=300)
    features, labels = np.concatenate([features, features[:1] + 9]), np.r_[labels, 5]  # class 5: one row
    got = out_of_fold(features, labels, 8)
    assert got["given"][-1] == pytest.approx(1 / 6)
    assert np.isfinite(got["given"]).all()
    alike = out_of_fold(np.ones((6, 3), np.float32), np.array([0, 0, 1, 1, 2, 2]), 3)
    np.testing.assert_allclose(alike["given"], 1 / 3)


def test_constant_and_repeated_features_do_no_harm():
    features, labels, _ = blobs(apart=3.0)
    more = np.concatenate([features, np.full((900, 2), 7.0, np.float32), features[:, :3]], axis=1)
    got = out_of_fold(more, labels, 5)
    assert np.isfinite(got["given"]).all()
    assert np.mean(got["index"][:, 0] == labels) > 0.97


def test_auto_takes_the_shrinkage_under_which_the_given_labels_are_likeliest():
    features, labels, true = blobs(n=300, d=120, apart=0.35, wrong=0.2)
    weight = 1 / np.bincount(labels)[labels]  # every class counts the same, as in the head

    def likelihood(found):
        return float(weight @ np.log(found["given"].astype(float)))

    found = {s: out_of_fold(features, labels, 5, shrinkage=s) for s in SHRINKAGES}
    best = max(SHRINKAGES, key=lambda s: likelihood(found[s]))
    auto = out_of_fold(features, labels, 5, shrinkage="auto")
    assert best > 0.1
    for key, values in found[best].items():
        np.testing.assert_array_equal(auto[key], values)
    assert roc_auc_score(labels == true, auto["given"]) > roc_auc_score(labels == true, found[0.1]["given"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((3, 2))}, "labels has 4 rows but features has 3"),
        ({"features": np.zeros(4)}, r"shape \(4,\)"),
        ({"features": np.array([[0, 1], [0, np.nan], [1, 1], [0, 0]])}, "row 1 has a value that is not"),
        ({"labels": np.array([0, 1, 2, 0])}, "label 2 in row 2"),
        ({"features": np.zeros((0, 2)), "labels": np.zeros(0, int)}, "found no rows"),
        ({"sample_weight": np.ones(3)}, "labels has 4 rows but sample_weight has 3"),
        ({"sample_weight": -np.ones(4)}, "sample_weight"),
        ({"sample_weight": np.zeros(4)}, "not all 0"),
        ({"targets": (np.zeros((4, 2), int), np.ones((4, 1)))}, r"index \(4, 2\) and prob \(4, 1\)"),
        ({"targets": (np.full((4, 1), 3), np.ones((4, 1)))}, "targets: label 3"),
        ({"targets": (np.zeros((4, 1), int), np.full((4, 1), np.nan))}, "finite probabilities"),
        ({"folds": 1}, "folds 1"),
        ({"shrinkage": 2.0}, "shrinkage 2.0"),
        ({"shrinkage": "most"}, "shrinkage most"),
        ({"k": 0}, "k 0"),
    ],
)
def test_bad_input(change, message):
    arguments = {"features": np.eye(4, 2), "labels": np.array([0, 1, 0, 1]), **change}
    with pytest.raises(InputError, match=message):
        out_of_fold(arguments.pop("features"), arguments.pop("labels"), 2, **arguments)

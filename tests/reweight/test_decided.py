"""What a person decided, as evidence: certain rows are sure of their label everywhere, teach and vote in full."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from urnet.baselines.curriculumnet import curriculum
from urnet.core.checks import InputError
from urnet.reweight.cluster import cluster
from urnet.reweight.evidence.decided import CERTAIN, NONE, CertainRows
from urnet.reweight.evidence.out_of_fold import out_of_fold
from urnet.reweight.evidence.posterior import posterior
from urnet.reweight.instance import instance
from urnet.reweight.label import label
from urnet.reweight.label_quality import label_quality

C = 4


def pictures(n=240, d=24, wrong=0.3, seed=0, apart=0.8):
    """Features around class centres, given labels of which a share is wrong, and the true ones."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % C
    features = (apart * rng.gamma(0.5, size=(C, d)))[true] + rng.gamma(1.0, size=(n, d))
    given = np.where(rng.random(n) < wrong, (true + rng.integers(1, C, n)) % C, true)
    return features.astype(np.float32), given, true


def decide(given, true, rows):
    """Labels and ``decided`` after a person has looked at ``rows``."""
    decided = np.zeros(len(given), np.int8)
    decided[rows] = CERTAIN
    return np.where(decided == CERTAIN, true, given), decided


def test_nobody_decided_is_no_decision_at_all():
    """To the byte, whatever the function."""
    features, given, _ = pictures(120)
    zeros = np.zeros(len(given), np.int8)
    head = out_of_fold(features, given, C)
    of_head = {"teacher_index": head["index"], "teacher_prob": head["prob"], "given_prob": head["given"]}
    calls = {
        "out_of_fold": lambda **how: out_of_fold(features, given, C, **how),
        "posterior": lambda **how: posterior(given, C, **of_head, **how),
        "cluster": lambda **how: cluster(features, given, head["given"], C, **how),
        "curriculum": lambda **how: curriculum(features, given, C, **how),
        "instance": lambda **how: instance(given, C, evidence={"confidence": head["given"]}, **how),
        "label_quality": lambda **how: label_quality(features, given, C, **how),
    }
    for name, call in calls.items():
        plain, same = call(), call(decided=zeros)
        assert all(plain[column].tobytes() == same[column].tobytes() for column in plain), name


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_certain_rows_are_sure_everywhere(share):
    features, given, true = pictures()
    rows = np.random.default_rng(1).permutation(len(given))[: int(share * len(given))]
    labels, decided = decide(given, true, rows)
    head = out_of_fold(features, labels, C, decided=decided)
    of_head = {"teacher_index": head["index"], "teacher_prob": head["prob"], "given_prob": head["given"]}
    found = posterior(labels, C, **of_head, decided=decided, voted=given, k=3)
    for part in (head, found):
        assert (part["given"][rows] == 1).all()
        assert (part["index"][rows, 0] == true[rows]).all() and (part["prob"][rows, 0] == 1).all()
        assert (part["prob"][rows, 1:] == 0).all()
    targets = label(labels, C, index=found["index"], prob=found["prob"], given=found["given"], sharpness=2, rho=0.5)
    assert (targets["keep"][rows] == 1).all() and (targets["topk_index"][rows, 0] == true[rows]).all()
    assert (targets["topk_prob"][rows] == np.eye(1, targets["topk_prob"].shape[1])).all()
    evidence = {"confidence": head["given"], "text": np.random.default_rng(0).random(len(labels))}
    assert (instance(labels, C, evidence=evidence, decided=decided)["relevance"][rows] == 1).all()


def test_every_head_learns_from_a_certain_row():
    """Of a class of two rows one is certain: the other's head knows the class, in whichever fold they are."""
    features, given, true = pictures(120, wrong=0, apart=3.0)
    few = np.flatnonzero(true == 3)
    rows = np.setdiff1d(np.arange(120), few[2:])
    sure, unsure = np.searchsorted(rows, few[:2])
    x, labels, decided = features[rows], given[rows], np.zeros(len(rows), np.int8)
    decided[sure] = CERTAIN
    same = np.full(len(rows), -1)
    same[[sure, unsure]] = 0  # in one fold
    alone = out_of_fold(x, labels, C, shrinkage=0.9, groups=same)
    assert alone["given"][unsure] == np.float32(1 / C)  # its class has no row outside its fold
    found = out_of_fold(x, labels, C, shrinkage=0.9, groups=same, decided=decided)
    assert found["index"][unsure, 0] == 3 and found["given"][unsure] > 0.5
    twin = np.concatenate([x, x[[sure]]])  # the same picture under another label
    found = out_of_fold(twin, np.append(labels, 0), C, shrinkage=0.9, decided=np.append(decided, 0))
    assert found["index"][-1, 0] == 3 and found["given"][-1] < 0.5


def test_known_pairs_of_given_and_true_labels_tell_the_noise():
    """Class 1 is often called 0: certain rows that were, and a teacher that knows nothing, show it."""
    n = 400
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, n)
    given = np.where((true == 1) & (rng.random(n) < 0.5), 0, true)
    even = {"teacher_index": np.tile([0, 1], (n, 1)), "teacher_prob": np.full((n, 2), 0.5, np.float16)}
    labels, decided = decide(given, true, np.arange(200))
    found = posterior(labels, 2, **even, given_prob=np.full(n, 0.5), decided=decided, voted=given)["given"][200:]
    blind = posterior(given, 2, **even, given_prob=np.full(n, 0.5))["given"][200:]
    zero = given[200:] == 0
    errors = [abs(q[zero].mean() - 2 / 3) + abs(q[~zero].mean() - 1) for q in (found, blind)]
    assert errors[0] < 0.1 < errors[1]  # "0" is right in two of three, "1" always


def test_a_certain_row_weighs_as_a_cluster_of_quality_one():
    features, labels, _ = pictures(wrong=0)
    quality = np.where(np.arange(len(labels)) % 8 < 4, 0.2, 0.4).astype(np.float32)
    decided = np.zeros(len(labels), np.int8)
    decided[:3] = CERTAIN
    quality[:3] = 1
    settings = {"max_clusters": 1, "min_clusters": 1, "shrink": 0, "power": 2}
    found = cluster(features, labels, quality, C, decided=decided, **settings)["cluster_weight"]
    for c in range(C):
        own = labels == c
        q = quality[own].astype(np.float64).mean()
        raw = np.where(decided[own] == CERTAIN, 1, q**2)
        np.testing.assert_allclose(found[own], raw / raw.mean(), rtol=1e-5)


def test_a_certain_row_is_of_the_cleanest_subset():
    features, given, _ = pictures()
    plain = curriculum(features, given, C)["subset"]
    decided = np.where(plain > 0, np.arange(len(plain)) % 2, 0).astype(np.int8)
    found = curriculum(features, given, C, decided=decided)["subset"]
    assert (decided > 0).any()
    np.testing.assert_array_equal(found, np.where(decided, 0, plain))


@pytest.mark.parametrize("evidence", ["all", "head"])
def test_decisions_help_to_judge_the_others(evidence):
    """Half of the wrong labels were decided: the others are found at least as well, over several sets."""
    before, after = [], []
    for seed in range(6):
        features, given, true = pictures(320, wrong=0.35, seed=seed, apart=0.5)
        rows = np.flatnonzero(given != true)[::2]
        rest = np.setdiff1d(np.arange(len(given)), rows)
        labels, decided = decide(given, true, rows)
        plain = label_quality(features, given, C, evidence=evidence)
        found = label_quality(features, labels, C, evidence=evidence, decided=decided)
        right = (given == true)[rest]
        before.append(roc_auc_score(right, plain["relevance"][rest]))
        after.append(roc_auc_score(right, found["relevance"][rest]))
        for name in ("label_quality", "relevance", "in_classes", "suggested_prob"):
            assert (found[name][rows] == 1).all(), name
        assert (found["suggested"][rows] == true[rows]).all() and (found["score"][rows] == 0).all()
    assert np.mean(after) > np.mean(before) + 0.01
    assert sum(np.greater_equal(after, before)) >= 4


def test_what_shows_none_of_the_classes_neither_teaches_nor_votes():
    features, given, _ = pictures(200)
    decided = np.zeros(200, np.int8)
    decided[:20] = NONE
    groups = np.full(200, -1)
    groups[[3, 50]], groups[[60, 61]] = 0, 1
    found = label_quality(features, given, C, decided=decided, groups=groups)
    for name in ("label_quality", "relevance", "in_classes", "instance_weight", "score", "suggested_prob"):
        assert (found[name][:20] == 0).all(), name
    assert (found["suggested"][:20] == given[:20]).all()
    alone = label_quality(features[20:], given[20:], C, groups=groups[20:])
    for name in ("relevance", "suggested", "instance_weight"):
        np.testing.assert_array_equal(found[name][20:], alone[name])
    assert found["in_classes"][50] == found["label_quality"][50] == 0  # it shows the same as row 3
    others = np.delete(np.arange(20, 200), 30)
    assert np.corrcoef(found["in_classes"][others], alone["in_classes"][others - 20])[0, 1] > 0.9
    everything = np.random.default_rng(0).random(features.shape).astype(np.float32)
    everything[20:] = features[20:]
    again = label_quality(everything, given, C, decided=decided, groups=groups)
    assert all(again[name].tobytes() == found[name].tobytes() for name in ("relevance", "suggested", "instance_weight"))
    readable = np.arange(200) != 30
    both = label_quality(features, given, C, decided=decided, groups=groups, readable=readable)
    assert both["label_quality"][30] == 0.5 and (both["label_quality"][:20] == 0).all()


@pytest.mark.parametrize(
    ("decided", "says"),
    [
        (np.zeros(7, np.int8), "labels has 8 rows but decided has 7"),
        (np.zeros(8), "decided: a one-dimensional integer array is needed, found float64"),
        (np.array([0, 0, 3, 0, 0, 0, 0, 0]), "decided: row 2 has 3; 0, 1 .its label is certain. and 2 .none. are"),
        (np.full(8, 2), "decided: row 0 has 2, none of the classes; leave such rows out"),
    ],
)
def test_bad_decisions(decided, says):
    features, labels = np.random.default_rng(0).random((8, 3)).astype(np.float32), np.arange(8) % 2
    with pytest.raises(InputError, match=says):
        out_of_fold(features, labels, 2, decided=decided)
    says = "all readable rows have 2, none of the classes" if decided[0] == 2 else says
    with pytest.raises(InputError, match=says):
        label_quality(features, labels, 2, decided=decided)


def test_certain_rows_of_an_array_like():
    values = np.arange(12, dtype=np.float16).reshape(4, 3)
    found = CertainRows(values, np.array([False, True, False, True]), np.array([9, 8, 7, 6]))
    expected = np.array([[0, 1, 2], [8, 0, 0], [6, 7, 8], [6, 0, 0]], np.float16)
    assert (found.shape, found.dtype, len(found)) == ((4, 3), np.float16, 4)
    np.testing.assert_array_equal(found[:], expected)
    np.testing.assert_array_equal(found[np.array([1, 2])], expected[1:3])
    assert found[1:3].dtype == np.float16 and values[1, 0] == 3

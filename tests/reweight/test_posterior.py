"""The posterior of each row's class: the formula, laws, noise recovered, better than its parts."""

import numpy as np
import pytest
from scipy.special import expit, logit

from urnet.core.checks import InputError
from urnet.reweight.evidence.label_noise import Vote
from urnet.reweight.evidence.posterior import Evidence, posterior


def made_up(n=300, c=7, k=4, seed=0, right=0.7, sharp=1.5):
    """True classes, labels of which a part is wrong, a teacher that sees the truth dimly, texts, groups."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, c, n)
    group = rng.integers(0, 3, n)

    def noisy(chance):
        return np.where(rng.random(n) < chance, truth, (truth + rng.integers(1, 3, n)) % c)

    labels, text = noisy(right + 0.2 * (group == 0)), noisy(0.8)
    text[rng.random(n) < 0.3] = -1
    logits = sharp * rng.standard_normal((n, c))
    logits[np.arange(n), truth] += 2
    full = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, {"labels": labels, "n_classes": c, "full": full, "k_teacher": k, "text_label": text, "group": group}


def run(labels, n_classes, full, k_teacher, rows=None, **settings):
    """``posterior`` with the teacher's top-k of full (N, C) probabilities; ``rows``: only those."""
    index = np.argsort(-full, axis=1)[:, :k_teacher]
    arrays = {
        "labels": labels,
        "teacher_index": index,
        "teacher_prob": np.take_along_axis(full, index, 1),
        "given_prob": full[np.arange(len(full)), labels],
    }
    for name in ("text_label", "group"):
        if settings.get(name) is not None:
            arrays[name] = settings.pop(name)
    if rows is not None:
        arrays = {name: array[rows] for name, array in arrays.items()}
    return posterior(n_classes=n_classes, **arrays, **settings)


def dense(columns, n_classes):
    belief = np.zeros((len(columns["given"]), n_classes))
    np.add.at(belief, (np.arange(len(belief))[:, None], columns["index"]), columns["prob"])
    return belief


def clipped(p):
    return logit(np.clip(p, 0.02, 0.98))


def likelihood(q, vote, group, n_classes):
    """P(vote | class, group) of each row for each class and for one that is not listed, estimated from posteriors q."""
    eye, seen, v = np.eye(n_classes), vote >= 0, np.maximum(vote, 0)
    counts = eye[v[seen]].T @ q[seen]  # votes by class
    base = np.bincount(v[seen], minlength=n_classes) + 1 / n_classes
    base, off, mean = base / base.sum(), counts * (1 - eye), counts.trace() / counts.sum()
    wrong = 5 * base + off.sum(1)
    spread = (off + 5 * wrong[:, None] / wrong.sum()) * (1 - eye)
    right = np.bincount(group[seen], q[seen, v[seen]], minlength=3)
    of_class = (counts.diagonal() + 5 * mean) / (counts.sum(0) + 5)
    of_group = (right + 5 * mean) / (np.bincount(group[seen], minlength=3) + 5)
    accuracy = expit(clipped(of_class) + (clipped(of_group) - clipped(mean))[group][:, None])
    found = np.where(eye[v] == 1, accuracy, (1 - accuracy) * (spread / spread.sum(0))[v])
    return np.where(seen[:, None], np.c_[np.maximum(found, 1e-9), base[v]], 1)


def by_hand(labels, n_classes, full, k_teacher, text_label, group, *, noise=1.0, text=1.0, iterations=3):
    """(N, C) posterior, the docstring on dense rows; what is not listed is one further class."""
    eye, rows = np.eye(n_classes), np.arange(len(labels))
    named = np.where((text_label >= 0) & (text > 0), text_label, labels)
    top = np.argsort(np.argsort(-full, axis=1), axis=1) < k_teacher
    top[rows, labels] = True
    listed = top | (eye[named] == 1)
    each = (1 - (full * top).sum(1)).clip(0) / np.maximum(n_classes - top.sum(1), 1)
    known = np.where(listed, np.maximum(np.where(top, full, each[:, None]), 0.01 / n_classes), 0)
    teacher = np.c_[known, (~listed).sum(1) * each]
    q = 0.6 * eye[labels] + 0.4 * (eye[named] if text else known / known.sum(1, keepdims=True))
    votes = [(labels, group, noise)] * (noise > 0) + [(text_label, group * 0, text)] * (text > 0)
    for _ in range(iterations):
        raw = teacher.copy()
        for vote, groups, power in votes:
            raw *= likelihood(q[:, :n_classes], vote, groups, n_classes) ** power
        q = raw / raw.sum(1, keepdims=True)
    return q[:, :n_classes]


@pytest.mark.parametrize(("k_teacher", "c"), [(1, 7), (4, 7), (7, 7), (4, 257)])  # many classes are tallied otherwise
@pytest.mark.parametrize(
    "settings", [{}, {"noise": 0.0, "text": 0.0}, {"noise": 0.5}, {"text": 0.0}, {"noise": 0.0}], ids=str
)
def test_the_posterior_is_the_formula_and_keeps_the_laws(settings, k_teacher, c):
    _, data = made_up(n=60, c=c, k=k_teacher)
    got = run(**data, **settings, k=c, iterations=3)
    expected = by_hand(**data, **settings)
    np.testing.assert_allclose(got["given"], expected[np.arange(60), data["labels"]], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(dense(got, c), expected, atol=6e-4)  # as exact as float16
    assert {name: a.dtype for name, a in got.items()} == {"index": np.int32, "prob": np.float16, "given": np.float32}
    prob = got["prob"].astype(np.float64)
    assert (prob >= 0).all() and (prob.sum(1) < 1.002).all() and (np.diff(prob, axis=1) <= 0).all()
    assert all(got[name].tobytes() == a.tobytes() for name, a in run(**data, **settings, k=c, iterations=3).items())
    short = run(**data, **settings, k=2, iterations=3)
    np.testing.assert_array_equal(short["index"], got["index"][:, :2])
    order = np.random.default_rng(2).permutation(60)
    permuted = run(**data, **settings, k=c, iterations=3, rows=order)
    blocked = run(**data, **settings, k=c, iterations=3, block=7)
    for other, rows in ((permuted, order), (blocked, np.arange(60))):  # sums are taken in another order
        np.testing.assert_allclose(other["given"], got["given"][rows], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(dense(other, c), dense(got, c)[rows], atol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("texts", ["none", "agree"])
def test_a_teacher_certain_of_the_labels_is_believed_exactly(noise, texts):
    labels = np.random.default_rng(0).integers(0, 50, 400)
    text = None if texts == "none" else np.where(np.arange(400) % 3, labels, -1)
    got = run(labels, 50, np.eye(50)[labels], 2, text_label=text, noise=noise, k=3)
    assert (got["given"] == 1).all()
    assert (got["index"][:, 0] == labels).all()
    assert (got["prob"] == [1, 0, 0]).all()


def test_without_votes_it_is_the_teacher_however_short_its_list():
    full = np.array([[0.25, 0.5, 0.125, 0.125]])
    for k_teacher in (1, 2, 4):
        got = run(np.array([0]), 4, full, k_teacher, noise=0.0)
        assert got["given"] == np.float32(0.25)
        known = full[0] * [1, 1, k_teacher == 4, k_teacher == 4]
        assert (dense(got, 4)[0] == known).all()


def test_texts_bring_back_a_class_the_teacher_did_not_list():
    truth, data = made_up(n=3000, k=1)
    data["labels"] = np.where(np.arange(3000) % 2, truth, (truth + 3) % 7)
    data["text_label"] = truth.copy()
    assert (run(**data)["index"][:, 0] == truth).mean() > 0.97
    data["text_label"] = None
    assert (run(**data)["index"][:, 0] == truth).mean() < 0.9


def test_the_noise_of_the_labels_is_recovered():
    truth, data = made_up(n=40_000, c=4, k=4, sharp=0.5)
    table = np.array([[0.9, 0.1, 0, 0], [0.3, 0.6, 0.05, 0.05], [0, 0, 0.7, 0.3], [0, 0, 0.05, 0.95]])
    rng = np.random.default_rng(5)
    labels = (rng.random((40_000, 1)) > np.cumsum(table, 1)[truth]).sum(1)
    index = np.argsort(-data["full"], axis=1)
    votes = [Vote(labels, 4), Vote(data["text_label"], 4)]
    evidence = Evidence(
        labels,
        4,
        index,
        np.take_along_axis(data["full"], index, 1),
        data["full"][np.arange(40_000), labels],
        data["text_label"],
        votes=votes,
    )
    assert evidence.estimate(100) < 100
    np.testing.assert_allclose(votes[0].table().sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(votes[0].table(), table, atol=0.04)
    np.testing.assert_allclose(np.diag(votes[1].table()), 0.8, atol=0.04)


def test_the_posterior_is_nearer_the_truth_than_labels_teacher_or_texts():
    truth, data = made_up(n=5000)
    fused = run(**data)["index"][:, 0]
    named = np.where(data["text_label"] < 0, data["labels"], data["text_label"])
    others = [(guess == truth).mean() for guess in (data["labels"], data["full"].argmax(1), named)]
    assert (fused == truth).mean() > max(others) + 0.05


def test_classes_without_rows_and_a_single_row():
    one = run(np.array([3]), 9, np.full((1, 9), 1 / 9), 2)
    assert 0 < one["given"] < 1
    assert np.isfinite(one["prob"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 9])}, "label 9 in row 1 is outside 0..2"),
        ({"labels": np.array([], int)}, "labels has 0 rows but teacher_index has 2"),
        ({"teacher_prob": np.ones((2, 3))}, r"index has shape \(2, 2\) and teacher_prob \(2, 3\)"),
        ({"teacher_prob": np.array([[0.5, 0.5], [0.5, np.nan]])}, "teacher_prob: row 1 has nan; 0..1 is"),
        ({"teacher_index": np.array([[0, 1], [0, 3]])}, "teacher_index: row 1 has 3; 0..2 is accepted"),
        ({"given_prob": np.array([0.1, 1.5])}, "given_prob: row 1 has 1.5; 0..1 is accepted"),
        ({"text_label": np.array([0, 3])}, "text_label: label 3 in row 1 is outside 0..2"),
        ({"text_label": np.array([0, -2])}, "text_label: label -2 in row 1"),
        ({"group": np.array([0])}, "labels has 2 rows but group has 1"),
    ],
)
def test_bad_input(change, message):
    good = {
        "labels": np.array([0, 1]),
        "teacher_index": np.array([[0, 1], [1, 0]]),
        "teacher_prob": np.array([[0.5, 0.5]] * 2),
        "given_prob": np.array([0.5, 0.5]),
    }
    posterior(n_classes=3, **good)
    with pytest.raises(InputError, match=message):
        posterior(n_classes=3, **{**good, **change})

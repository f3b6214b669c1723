"""The posterior of each row's class: laws, a slow plain version, noise recovered, better than its parts."""

import math

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight.evidence.label_noise import Vote
from urnet.reweight.evidence.posterior import Evidence, posterior

SETTINGS = [{}, {"noise": 0.0, "text": 0.0}, {"noise": 0.5}, {"text": 0.0}, {"noise": 0.0}]


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


def logit(p):
    p = min(max(p, 0.02), 0.98)
    return math.log(p / (1 - p))


def slow_likelihood(q, votes, group, n_classes):
    """P(vote | class, group) as a function, from posteriors q: a dict of each row. Plain sums."""
    base = [list(votes).count(c) + 1 / n_classes for c in range(n_classes)]
    base = [b / sum(base) for b in base]
    counts = [[0.0] * n_classes for _ in range(n_classes)]
    right, seen = {}, {}
    for i, vote in enumerate(votes):
        if vote >= 0:
            for c, p in q[i].items():
                counts[c][vote] += p
            right[group[i]] = right.get(group[i], 0) + q[i].get(vote, 0)
            seen[group[i]] = seen.get(group[i], 0) + 1
    mean = sum(counts[c][c] for c in range(n_classes)) / sum(map(sum, counts))
    wrong = [5 * base[v] + sum(counts[c][v] for c in range(n_classes) if c != v) for v in range(n_classes)]
    spread = [
        [0 if v == c else counts[c][v] + 5 * wrong[v] / sum(wrong) for v in range(n_classes)] for c in range(n_classes)
    ]

    def likelihood(vote, c, g):
        if c is None:
            return base[vote]
        of_class = (counts[c][c] + 5 * mean) / (sum(counts[c]) + 5)
        of_group = (right[g] + 5 * mean) / (seen[g] + 5)
        accuracy = 1 / (1 + math.exp(-(logit(of_class) + logit(of_group) - logit(mean))))
        return max(accuracy if vote == c else (1 - accuracy) * spread[c][vote] / sum(spread[c]), 1e-9)

    return likelihood


def slow(labels, n_classes, full, k_teacher, text_label, group, *, noise=1.0, text=1.0, iterations=3):
    """(N, C) posterior of the candidates, the docstring row by row, class by class."""
    n, use_text = len(labels), text > 0
    teacher, start = [], []
    for i in range(n):
        top = set(np.argsort(-full[i])[:k_teacher]) | {labels[i]}
        named = text_label[i] if use_text and text_label[i] >= 0 else labels[i]
        rest = max(1 - sum(full[i][c] for c in top), 0)
        each = rest / max(n_classes - len(top), 1)
        belief = {c: max(full[i][c] if c in top else each, 0.01 / n_classes) for c in top | {named}}
        if n_classes > len(belief):
            belief[None] = (n_classes - len(belief)) * each
        teacher.append(belief)
        known = {c: p for c, p in belief.items() if c is not None}
        first = {c: 0.4 * (c == named if use_text else p / sum(known.values())) for c, p in known.items()}
        first[labels[i]] += 0.6
        start.append(first)
    votes = [(labels, group, noise)] * (noise > 0) + [(text_label, [0] * n, text)] * use_text
    q = start
    for _ in range(iterations if votes else 1):
        given = [{c: p for c, p in row.items() if c is not None} for row in q]
        models = [slow_likelihood(given, v, g, n_classes) for v, g, _ in votes]
        q = []
        for i in range(n):
            raw = dict(teacher[i])
            for (v, g, power), model in zip(votes, models, strict=True):
                if v[i] >= 0:
                    raw = {c: p * model(v[i], c, g[i]) ** power for c, p in raw.items()}
            q.append({c: p / sum(raw.values()) for c, p in raw.items()})
    return np.array([[row.get(c, 0.0) for c in range(n_classes)] for row in q])


@pytest.mark.parametrize("k_teacher", [1, 4, 7])
@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_slow_version(settings, k_teacher):
    _, data = made_up(n=60, k=k_teacher)
    got = run(**data, **settings, iterations=3)
    expected = slow(**data, **settings)
    np.testing.assert_allclose(got["given"], expected[np.arange(60), data["labels"]], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(dense(got, 7), expected, atol=6e-4)  # as exact as float16


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("k", [2, 20])
def test_laws(settings, k):
    _, data = made_up(seed=1)
    got = run(**data, **settings, k=k)
    assert {name: (a.dtype, a.shape) for name, a in got.items()} == {
        "index": (np.int32, (300, min(k, 7))),
        "prob": (np.float16, (300, min(k, 7))),
        "given": (np.float32, (300,)),
    }
    assert ((got["given"] >= 0) & (got["given"] <= 1)).all()
    assert ((got["index"] >= 0) & (got["index"] < 7)).all()
    assert (got["prob"] >= 0).all()
    assert (np.diff(got["prob"].astype(float), axis=1) <= 0).all()
    assert (got["prob"].sum(1, dtype=np.float64) < 1.002).all()
    if k == 20:  # nothing is cut
        own = dense(got, 7)[np.arange(300), data["labels"]]
        np.testing.assert_allclose(own, got["given"], atol=6e-4)
    used = np.sort(np.where(got["prob"] > 0, got["index"], -1 - np.arange(min(k, 7))), axis=1)
    assert (np.diff(used, axis=1) != 0).all()  # no class comes twice
    assert all(got[n].tobytes() == again.tobytes() for n, again in run(**data, **settings, k=k).items())
    order = np.random.default_rng(2).permutation(300)
    permuted = run(**data, **settings, k=k, rows=order)
    blocked = run(**data, **settings, k=k, block=7)
    for other, expected in ((permuted, {n: a[order] for n, a in got.items()}), (blocked, got)):
        # sums over the rows are taken in another order
        np.testing.assert_allclose(other["given"], expected["given"], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(dense(other, 7), dense(expected, 7), atol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("texts", ["none", "agree"])
def test_a_teacher_certain_of_the_labels_is_believed_exactly(noise, texts):
    labels = np.random.default_rng(0).integers(0, 50, 400).astype(np.int32)
    text = None if texts == "none" else np.where(np.arange(400) % 3, labels, -1)
    got = posterior(
        labels,
        50,
        teacher_index=np.stack([labels, (labels + 1) % 50], 1),
        teacher_prob=np.tile(np.float16([1, 0]), (400, 1)),
        given_prob=np.ones(400, np.float32),
        text_label=text,
        noise=noise,
        k=3,
    )
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


@pytest.mark.parametrize("c", [6, 257])  # tallied in two ways
def test_the_table_of_a_vote_by_hand(c):
    rng = np.random.default_rng(4)
    votes, classes, q = rng.integers(-1, c, 500), rng.integers(0, 6, (500, 2)), rng.dirichlet([1, 1], 500)
    classes[:, 1] = (classes[:, 0] + 1) % 6
    vote = Vote(votes, c)
    for rows in (slice(0, 70), slice(70, 500)):
        vote.count(rows, classes[rows], q[rows])
    assert vote.estimate() == 1
    likelihood = slow_likelihood(
        [dict(zip(*row, strict=True)) for row in zip(classes.tolist(), q, strict=True)], votes, [0] * 500, c
    )
    expected = [[likelihood(v, true, 0) for v in range(6)] for true in range(6)]
    np.testing.assert_allclose(vote.table()[:6, :6], expected, rtol=1e-5, atol=1e-9)


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

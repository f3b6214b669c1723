"""The relevance model: gradients against finite differences, planted wrong rows, what counts as reliable."""

import numpy as np
import pytest

from urnet.core.checks import InputError
from urnet.reweight.evidence.ranks import class_ranks
from urnet.reweight.evidence.relevance import (
    Pair,
    RelevanceSettings,
    loss_and_gradients,
    relevance_model,
    reliable_rows,
)


def planted(n=600, n_classes=6, d=20, seed=0, wrong=0.25):
    """Features by true class, labels of which some are wrong, two query texts a class that say the label."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes, size=n)
    is_wrong = rng.random(n) < wrong
    labels = np.where(is_wrong, (true + rng.integers(1, n_classes, n)) % n_classes, true)
    features = 3 * rng.standard_normal((n_classes, d))[true] + rng.standard_normal((n, d))
    words = rng.standard_normal((n_classes, 16))
    texts = np.repeat(words, 2, axis=0) + 0.3 * rng.standard_normal((2 * n_classes, 16))
    text_of = 2 * labels + rng.integers(2, size=n)
    reliable = ~is_wrong & (rng.random(n) < 0.5)
    return features.astype(np.float32), labels, is_wrong, texts.astype(np.float32), text_of, reliable


SETTINGS = RelevanceSettings(dim=16, epochs=20.0, batch_size=64, lr=0.01)


def fit(features, labels, texts, text_of, reliable, seed=0):
    texts = {"text_vectors": texts, "text_of": text_of}
    return relevance_model(features, labels, 6, **texts, reliable=reliable, settings=SETTINGS, seed=seed)


def slow_loss(pair, x, t, labels, temperature):
    """InfoNCE with Python loops: a row's own text against those of rows of other classes."""
    u, v = x @ pair.a, t @ pair.b
    total = 0.0
    for i in range(len(x)):
        cosine = [u[i] @ v[j] / np.linalg.norm(u[i]) / np.linalg.norm(v[j]) for j in range(len(x))]
        others = [np.exp(cosine[j] / temperature) for j in range(len(x)) if j == i or labels[j] != labels[i]]
        total -= cosine[i] / temperature - np.log(sum(others))
    return total / len(x)


def test_loss_and_gradients_by_finite_differences():
    rng = np.random.default_rng(1)
    x, t, labels = rng.standard_normal((7, 5)), rng.standard_normal((7, 4)), np.array([0, 0, 1, 2, 2, 2, 3])
    pair = Pair(rng.standard_normal((5, 3)), rng.standard_normal((4, 3)))
    loss, grads = loss_and_gradients(pair, x, t, labels, 0.3)
    assert loss == pytest.approx(slow_loss(pair, x, t, labels, 0.3), rel=1e-10)
    for side in range(2):
        for place in np.ndindex(pair[side].shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = Pair(pair.a.copy(), pair.b.copy())
                moved[side][place] += step
                ends.append(slow_loss(moved, x, t, labels, 0.3))
            assert grads[side][place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_planted_wrong_rows_have_the_lower_cosine():
    features, labels, is_wrong, texts, text_of, reliable = planted()
    got = fit(features, labels, texts, text_of, reliable)
    assert got["cosine"].dtype == got["relevance"].dtype == np.float32
    assert got["known"].all() and np.abs(got["cosine"]).max() <= 1
    assert got["cosine"][~is_wrong].min() > got["cosine"][is_wrong].max()
    np.testing.assert_array_equal(got["relevance"], class_ranks(got["cosine"], labels).astype(np.float32))


def test_the_same_seed_gives_the_same_bytes_and_permuted_rows_permuted_answers():
    features, labels, _, texts, text_of, reliable = planted(n=300)
    one, same, other = (fit(features, labels, texts, text_of, reliable, seed=s) for s in (0, 0, 1))
    assert one["cosine"].tobytes() == same["cosine"].tobytes() != other["cosine"].tobytes()
    order = np.random.default_rng(2).permutation(300)
    shuffled = fit(features[order], labels[order], texts, text_of[order], reliable[order])
    np.testing.assert_allclose(shuffled["cosine"], one["cosine"][order], atol=1e-3)


def test_rows_without_a_text_are_unknown_and_in_the_middle():
    features, labels, _, texts, text_of, reliable = planted()
    text_of[:50], texts[3] = -1, 0
    got = fit(features, labels, texts, text_of, reliable)
    unknown = (text_of == -1) | (text_of == 3)
    assert (got["known"] == ~unknown).all()
    assert (got["cosine"][unknown] == 0).all() and (got["relevance"][unknown] == 0.5).all()


def test_no_row_is_scored_by_a_model_that_saw_it():
    """Random labels in more dimensions than rows: learned by heart, every row would fit its text."""
    rng = np.random.default_rng(3)
    features, labels = rng.standard_normal((200, 400)).astype(np.float32), rng.integers(2, size=200)
    got = relevance_model(
        features, labels, 2, text_vectors=np.eye(2, 4), text_of=labels, reliable=np.ones(200, bool), settings=SETTINGS
    )
    assert abs(got["cosine"].mean()) < 0.25


def test_reliable_rows_are_the_top_of_google_with_fallbacks():
    #          class 0: google and flickr    class 1: flickr only    class 2: no rank
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    source = np.array([1, 1, 1, 2, 2, 2, 2, 2, 0, 0])
    query = np.array([1, 1, 1, 1, 1, 2, 2, 2, -1, -1])
    rank = np.array([0, 4, 10, 0, 9, 0, 1, 8, -1, -1])
    got = reliable_rows(labels, 3, source=source, query=query, rank=rank, sources=[1])
    assert got.tolist() == [True, True, False, False, False, True, True, False, True, True]
    both = reliable_rows(labels, 3, source=source, query=query, rank=rank, sources=(1, 2), quantile=0.1)
    assert both.tolist() == [True, False, False, True, False, True, False, False, True, True]
    with pytest.raises(InputError, match="quantile 0"):
        reliable_rows(labels, 3, source=source, query=query, rank=rank, sources=[1], quantile=0.0)
    with pytest.raises(InputError, match="at least one code"):
        reliable_rows(labels, 3, source=source, query=query, rank=rank, sources=())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((5, 2))}, "labels has 6 rows but features has 5"),
        ({"features": np.full((6, 2), np.inf)}, "row 0 has a value that is not finite"),
        ({"text_vectors": np.full((2, 3), np.nan)}, "text_vectors"),
        ({"text_vectors": np.zeros(3)}, "text_vectors"),
        ({"text_of": np.array([0, 1, 0, 1, 0, 5])}, "text_of"),
        ({"text_of": np.zeros(2, int)}, "text_of has 2"),
        ({"reliable": np.ones(6)}, "reliable"),
        ({"reliable": np.zeros(6, bool)}, "two classes"),
        ({"reliable": np.ones(5, bool)}, "reliable has 5"),
        ({"settings": RelevanceSettings(temperature=0.0)}, "temperature=0"),
        ({"settings": RelevanceSettings(folds=1)}, "folds=1"),
        ({"settings": RelevanceSettings(epochs=float("nan"))}, "epochs=nan"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "features": np.eye(6, 2),
        "text_vectors": np.eye(2, 3),
        "text_of": np.array([0, 1] * 3),
        "reliable": np.ones(6, bool),
        **change,
    }
    with pytest.raises(InputError, match=message):
        relevance_model(arguments.pop("features"), np.array([0, 1] * 3), 2, **arguments)

"""The mixture of two normal distributions over all rows' losses."""

import numpy as np

from urnet.baselines.loss_mixture import clean_probability


def planted(n=400, seed=0):
    """Losses around 0.3 of the first half, around 2.5 of the others."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.3, 0.1, n // 2), rng.normal(2.5, 0.4, n // 2)])


def test_planted_losses_are_told_apart():
    clean = clean_probability(planted())
    assert clean.dtype == np.float32
    assert (clean[:200] > 0.99).all() and (clean[200:] < 0.01).all()


def test_it_is_the_posterior_of_the_component_with_the_smaller_mean():
    """Against expectation maximisation by hand, from the two halves as first components."""
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.normal(1, 0.4, 700), rng.normal(3, 0.5, 300)])
    x = (losses - losses.min()) / np.ptp(losses)
    weight, mean, variance = np.array([0.5, 0.5]), np.array([x.min(), x.max()]), np.full(2, x.var())
    for _ in range(300):
        density = weight * np.exp(-((x[:, None] - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        p = density / density.sum(axis=1, keepdims=True)
        weight = p.mean(axis=0)
        mean = (p * x[:, None]).sum(axis=0) / p.sum(axis=0)
        variance = (p * (x[:, None] - mean) ** 2).sum(axis=0) / p.sum(axis=0) + 5e-4
    np.testing.assert_allclose(clean_probability(losses), p[:, 0], atol=0.05)


def test_scale_order_and_rows_without_a_loss_change_nothing():
    losses = planted()
    clean = clean_probability(losses)
    np.testing.assert_allclose(clean_probability(7 * losses + 3), clean, atol=1e-6)
    order = np.random.default_rng(2).permutation(len(losses))
    np.testing.assert_allclose(clean_probability(losses[order]), clean[order], atol=1e-6)
    holes = np.insert(losses, [0, 200], np.nan)
    found = clean_probability(holes)
    assert (found[np.isnan(holes)] == 0).all()
    np.testing.assert_array_equal(found[~np.isnan(holes)], clean)
    np.testing.assert_array_equal(clean_probability(losses), clean)


def test_losses_that_tell_nothing_leave_all_labels():
    for losses in (np.full(5, 2.0), np.array([1.0]), np.array([np.nan, 0.5]), np.empty(0)):
        np.testing.assert_array_equal(clean_probability(losses), np.isfinite(losses).astype(np.float32))

"""FID, KID and PRDC of many images, in blocks, give what they give of few, whole."""

import numpy as np
import pytest

from aubench.metrics.distributions import frechet as frechet_module
from aubench.metrics.distributions import grams as grams_module
from aubench.metrics.distributions.frechet import (
    Moments,
    frechet,
    frechet_infinity,
    frechet_of_moments,
)
from aubench.metrics.distributions.grams import Grams
from aubench.metrics.distributions.kernel import Subsets, kernel_distances
from aubench.metrics.distributions.neighbourhoods import neighbourhoods

SHAPES = [(70, 50, 20), (33, 64, 8), (16, 17, 40)]


def in_blocks(monkeypatch, rows=16):
    for module in (grams_module, frechet_module):
        monkeypatch.setattr(module, "GRAM_LIMIT", 10)
        monkeypatch.setattr(module, "ROWS", rows)


@pytest.fixture(params=SHAPES, ids=str)
def sets(request):
    n, m, d = request.param
    draw = np.random.default_rng(n)
    x, y = draw.gamma(0.5, size=(n, d)), draw.gamma(0.7, size=(m, d)) * draw.gamma(1, size=d)
    x[3] = x[5]
    return x.astype(np.float32), y.astype(np.float32)


def test_frechet_distance_and_influence(sets, monkeypatch):
    x, y = sets
    whole, limit = frechet(x, y), frechet_infinity(x, y)
    turned = frechet(y, x)
    assert whole.value == pytest.approx(turned.value, rel=1e-9)
    if min(len(x), len(y)) > x.shape[1]:  # else directions are empty, and rounding fills them
        size = np.abs(turned.influence).max()
        assert whole.other_influence == pytest.approx(turned.influence, abs=1e-6 * size)
    in_blocks(monkeypatch)
    parts = frechet(x, y)
    assert parts.value == pytest.approx(whole.value, rel=1e-9)
    for one, other in (
        (parts.influence, whole.influence),
        (parts.other_influence, whole.other_influence),
    ):
        assert one == pytest.approx(other, abs=1e-7 * np.abs(other).max())
        assert one.mean() == pytest.approx(0, abs=1e-9 * np.abs(one).max())
    if min(len(x), len(y)) > x.shape[1]:
        assert frechet_infinity(x, y) == pytest.approx(limit, rel=1e-4)


def test_influences_are_the_change_of_the_distance_with_the_weight_of_a_row():
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(60, 3)), draw.normal(1, 2, size=(50, 3))
    found, h = frechet(x, y), 1e-4

    def moved(rows, i):
        """Row i counts 1 + h times as much as any other: mean and covariance by hand."""
        w = np.ones(len(rows))
        w[i] += h
        w *= len(rows) / w.sum()
        mean = w @ rows / w.sum()
        return Moments(len(rows), mean, (rows - mean).T @ ((rows - mean) * w[:, None]))

    ones = Moments.of(x), Moments.of(y)
    for i in (0, 7):
        gain = frechet_of_moments(moved(x, i), ones[1]) - found.value
        assert found.influence[i] / 60 == pytest.approx(gain / h, rel=1e-2, abs=1e-4)
        gain = frechet_of_moments(ones[0], moved(y, i)) - found.value
        assert found.other_influence[i] / 50 == pytest.approx(gain / h, rel=1e-2, abs=1e-4)


def test_kernel_distances(sets, monkeypatch):
    x, y = sets
    whole = kernel_distances(Grams.of(x, y), Subsets(6, 20))
    in_blocks(monkeypatch)
    parts = kernel_distances(Grams.of(x, y), Subsets(6, 20))
    for name in ("value", "influence", "other_influence", "mean", "spread"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-7, abs=1e-9)
    k = [(a.astype(float) @ b.T.astype(float) / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y))]
    within = [(one.sum() - np.trace(one)) / len(one) / (len(one) - 1) for one in k]
    across = ((x.astype(float) @ y.T.astype(float) / x.shape[1] + 1) ** 3).mean()
    assert whole.value == pytest.approx(sum(within) - 2 * across, rel=1e-9)


def test_kernel_influences_are_the_change_of_the_distance_with_the_weight_of_a_row():
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(60, 3)), draw.normal(1, 2, size=(50, 3))
    found = kernel_distances(Grams.of(x, y))
    rest = kernel_distances(Grams.of(np.delete(x, 5, 0), y)).value
    assert found.influence[5] / 59 == pytest.approx(found.value - rest, rel=0.05)
    rest = kernel_distances(Grams.of(x, np.delete(y, 5, 0))).value
    assert found.other_influence[5] / 49 == pytest.approx(found.value - rest, rel=0.05)
    assert abs(found.influence.sum()) < 1e-9 and abs(found.other_influence.sum()) < 1e-9


def test_neighbourhoods(sets, monkeypatch):
    x, y = sets
    whole = neighbourhoods(y, x)
    in_blocks(monkeypatch)
    for parts in (neighbourhoods(y, x), neighbourhoods(y, x, rows=5)):
        assert np.array_equal(parts.inside, whole.inside)
        assert np.array_equal(parts.reached, whole.reached)
    with pytest.raises(ValueError, match="more than 5"):
        neighbourhoods(y[:5], x)


def test_equal_sets_are_at_no_distance(sets):
    x, _ = sets
    assert neighbourhoods(x, x).scores()["recall"] == 1
    # Pairs of one with itself count between.
    assert kernel_distances(Grams.of(x, x)).value < 0


def test_moments_do_not_depend_on_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(3, size=(50, 6)).astype(np.float32)
    whole = Moments.of(x)
    monkeypatch.setattr(frechet_module, "BLOCK", 7)
    parts = Moments.of(x)
    assert parts.n == 50 and parts.mean == pytest.approx(whole.mean, rel=1e-12)
    assert parts.covariance == pytest.approx(np.cov(x.astype(float), rowvar=False), rel=1e-10)
    assert frechet_of_moments(parts, whole) == pytest.approx(0, abs=1e-6)


def test_scores_of_many_images_are_those_of_few(monkeypatch):
    """The same rows, ids and values, whichever way they are computed."""
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.metrics.registry import metric

    draw = np.random.default_rng(0)
    sides = [
        {"e": {"features": draw.gamma(0.5, size=(n, 20)).astype(np.float32)}} for n in (60, 70)
    ]

    def scores():
        m = EvaluationData(
            sides[0],
            sides[1],
            np.arange(60),
            np.zeros((70, 12), np.uint8),
            np.zeros((70, 12)),
            [f"s{i % 9}" for i in range(70)],
            {},
            {},
            "r",
            "e|x",
            {},
            "labels",
            ["all"] * 70,
        )
        rows = [r for name in ("fid", "kid", "prdc") for r in metric(name).score(m)]
        return {row.id: [row.value, *row.ci] if row.ci else [row.value] for row in rows}

    few = scores()
    assert len(few) == 8
    in_blocks(monkeypatch)
    again = scores()
    assert again.keys() == few.keys()
    for name, values in few.items():
        assert again[name] == pytest.approx(values, rel=1e-4, abs=1e-9), name

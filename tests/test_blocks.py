"""FID, KID and PRDC in blocks give what they give from whole matrices."""

import numpy as np
import pytest

from aubench.metrics import blocks
from aubench.metrics.bootstrap import resamples
from aubench.metrics.frechet import Moments, frechet, frechet_infinity, frechet_of_moments
from aubench.metrics.grams import Grams
from aubench.metrics.kernel import kernel_replicates, kernels, subset_distances, unbiased
from aubench.metrics.prdc import neighbourhoods

SHAPES = [(70, 50, 20), (33, 64, 8), (16, 17, 40)]


@pytest.fixture(params=SHAPES, ids=str)
def sets(request, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 16)
    n, m, d = request.param
    draw = np.random.default_rng(n)
    x, y = draw.gamma(0.5, size=(n, d)), draw.gamma(0.7, size=(m, d)) * draw.gamma(1, size=d)
    x[3] = x[5]
    return x.astype(np.float32), y.astype(np.float32)


def test_frechet_distance_and_influence(sets):
    x, y = sets
    value, influence = blocks.frechet(x, y)
    expected, each = frechet(x, y)
    assert value == pytest.approx(expected, rel=1e-6)
    if min(len(x), len(y)) > x.shape[1]:  # else directions are empty, and rounding fills them
        assert influence == pytest.approx(each, rel=1e-6, abs=1e-6 * np.abs(each).max())
        assert blocks.frechet_infinity(x, y) == pytest.approx(frechet_infinity(x, y), rel=1e-4)
    assert influence.mean() == pytest.approx(0, abs=1e-9 * np.abs(influence).max())


def test_kernel_distances(sets):
    x, y = sets
    draws = resamples([f"s{i % 7}" for i in range(len(x))], 9)
    found = blocks.kernel_distances(x, y, draws, subsets=6, size=20)
    grams = kernels(Grams.of(x, y))
    mean, spread = subset_distances(*grams, subsets=6, size=20)
    assert found.value == pytest.approx(unbiased(*grams), rel=1e-9)
    assert found.replicates == pytest.approx(kernel_replicates(*grams, draws), rel=1e-9)
    assert (found.mean, found.spread) == pytest.approx((mean, spread), rel=1e-9)
    assert blocks.kernel_distances(x, y, []).replicates.shape == (0,)


def test_neighbourhoods(sets):
    x, y = sets
    found, expected = blocks.neighbourhoods(y, x), neighbourhoods(y, x)
    assert np.array_equal(found.inside, expected.inside)
    assert np.array_equal(found.reached, expected.reached)
    with pytest.raises(ValueError, match="more than 5"):
        blocks.neighbourhoods(y[:5], x)


def test_equal_sets_are_at_no_distance(sets):
    x, _ = sets
    assert blocks.neighbourhoods(x, x).scores()["recall"] == 1
    assert blocks.kernel_distances(x, x, []).value < 0  # pairs of one with itself count between


def test_moments_do_not_depend_on_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(3, size=(50, 6)).astype(np.float32)
    whole = Moments.of(x)
    monkeypatch.setattr("aubench.metrics.frechet.BLOCK", 7)
    parts = Moments.of(x)
    assert parts.n == 50 and parts.mean == pytest.approx(whole.mean, rel=1e-12)
    assert parts.covariance == pytest.approx(np.cov(x.astype(float), rowvar=False), rel=1e-10)
    assert frechet_of_moments(parts, whole) == pytest.approx(0, abs=1e-6)


def test_scores_of_many_images_are_those_of_few(monkeypatch):
    """The same rows, ids and values, whichever way they are computed."""
    from aubench.engine import measured, scores_distribution
    from aubench.engine.measured import Measured

    draw = np.random.default_rng(0)
    sides = [
        {"e": {"features": draw.gamma(0.5, size=(n, 20)).astype(np.float32)}} for n in (60, 70)
    ]

    def scores():
        m = Measured.__new__(Measured)
        for name, value in {
            "generated": sides[0], "targets": sides[1], "kept": np.arange(60), "missing": "",
            "subjects": [f"s{i % 9}" for i in range(70)], "extractor": "e|x", "ref": "r",
        }.items():  # fmt: skip
            object.__setattr__(m, name, value)
        rows = [r for name in ("fid", "kid", "prdc") for r in getattr(scores_distribution, name)(m)]
        return {row.id: [row.value, *row.ci] if row.ci else [row.value] for row in rows}, m.many

    few, many = scores()
    assert not many and len(few) == 8
    monkeypatch.setattr(measured, "GRAM_LIMIT", 10)
    monkeypatch.setattr(blocks, "ROWS", 16)
    again, many = scores()
    assert many and again.keys() == few.keys()
    for name, values in few.items():
        assert again[name] == pytest.approx(values, rel=1e-4, abs=1e-9), name

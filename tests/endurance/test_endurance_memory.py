"""Memory in N: what a stage holds beside the rows it returns does not grow with N."""

import tracemalloc

import numpy as np
import pytest

from aubench.metrics.distributions import frechet, grams
from aubench.metrics.distributions.frechet import Moments
from aubench.metrics.distributions.kernel import Subsets, kernel_distances
from aubench.metrics.distributions.neighbourhoods import neighbourhoods
from aubench.networks.inference import CHUNK, measure


class Rows:
    """A network whose answer is wide."""

    name, id, sha256 = "rows", "rows", "0"

    def __call__(self, images):
        return {"features": np.repeat(images[:, 0, :1, 0], 512, 1).astype(np.float32)}


def load(keys):
    return np.full((len(keys), 64, 64, 3), int(keys[0]) % 251, np.uint8)


def peak(call):
    """Return the bytes that a call holds at most; numpy tells its own to tracemalloc."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def extra(count):
    """Return the peak of measuring ``count`` images and of their moments, less the rows."""
    found = {}

    def call():
        keys = [str(i) for i in range(count)]
        found.update(measure(keys, load, [Rows()])["rows"])
        Moments.of(found["features"])

    held = peak(call)
    assert found["features"].nbytes == count * 512 * 4
    return held - found["features"].nbytes


def test_measuring_and_moments_hold_no_second_copy(monkeypatch):
    monkeypatch.setattr("aubench.metrics.distributions.frechet.BLOCK", 256)
    few, many = extra(4 * CHUNK), extra(40 * CHUNK)
    assert many < 1.2 * few  # 40 chunks of rows alone would be 10 MB more, ten times as much
    assert few > CHUNK * 64 * 64 * 3  # a chunk of images: the figure is one of memory


@pytest.mark.parametrize("score", ["frechet", "kernel_distances", "neighbourhoods"])
def test_scores_in_blocks_hold_no_matrix_of_all_pairs(monkeypatch, score):
    for module in (frechet, grams):
        monkeypatch.setattr(module, "ROWS", 64)
        monkeypatch.setattr(module, "GRAM_LIMIT", 100)
    draw = np.random.default_rng(0)
    x, y = (draw.gamma(0.5, size=(1500, 24)).astype(np.float32) for _ in range(2))
    calls = {
        "frechet": lambda: frechet.frechet(x, y),
        "kernel_distances": lambda: kernel_distances(grams.Grams.of(x, y), Subsets(5)),
        "neighbourhoods": lambda: neighbourhoods(x, y),
    }
    assert peak(calls[score]) < 8 * 1500 * 1500 / 2  # half of one float64 matrix

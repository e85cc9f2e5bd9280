"""Memory in N: what a stage holds beside the rows it returns does not grow with N."""

import tracemalloc

import numpy as np
import pytest

from aubench.metrics import blocks
from aubench.metrics.bootstrap import resamples
from aubench.metrics.frechet import Moments
from aubench.metrics.measure import CHUNK, measure


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
    monkeypatch.setattr("aubench.metrics.frechet.BLOCK", 256)
    few, many = extra(4 * CHUNK), extra(40 * CHUNK)
    assert many < 1.2 * few  # 40 chunks of rows alone would be 10 MB more, ten times as much
    assert few > CHUNK * 64 * 64 * 3  # a chunk of images: the figure is one of memory


@pytest.mark.parametrize("score", ["frechet", "kernel_distances", "neighbourhoods"])
def test_scores_in_blocks_hold_no_matrix_of_all_pairs(monkeypatch, score):
    monkeypatch.setattr(blocks, "ROWS", 64)
    draw = np.random.default_rng(0)
    x, y = (draw.gamma(0.5, size=(1500, 24)).astype(np.float32) for _ in range(2))
    draws = resamples([f"s{i % 9}" for i in range(1500)], 5)
    calls = {
        "frechet": lambda: blocks.frechet(x, y),
        "kernel_distances": lambda: blocks.kernel_distances(x, y, draws, subsets=5),
        "neighbourhoods": lambda: blocks.neighbourhoods(x, y),
    }
    assert peak(calls[score]) < 8 * 1500 * 1500 / 2  # half of one float64 matrix

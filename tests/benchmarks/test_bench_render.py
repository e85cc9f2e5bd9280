"""Milliseconds of a face on one core; the targets are 60 ms a face and 0.3 s a new subject."""

import numpy as np
import pytest
from sizes import size as sized

from aubench.facs import labels_of
from aubench.synfacs.anatomy.identity import identity
from aubench.synfacs.render import render

FACE = labels_of([6, 12, 15]) * 3.0


@pytest.mark.parametrize("size", [64, 128, 256])
def test_render_of_a_known_subject(benchmark, size):
    render("S000", FACE, 1, size=size)
    image = benchmark.pedantic(render, ("S000", FACE, 2), {"size": size}, rounds=20)
    assert image.shape == (size, size, 3)
    if size == 128 and benchmark.enabled:
        assert benchmark.stats["median"] < 0.060


def test_setting_up_a_subject(benchmark):
    for i in range(sized(16, 1)):  # every set of furrows is built once a process
        identity(f"S{i:03d}")
    names = iter(f"S{i:03d}" for i in range(20, 40))
    benchmark.pedantic(lambda: identity(next(names)), rounds=10)
    if benchmark.enabled:
        assert benchmark.stats["median"] < 0.3


def test_furrows_cost_little(benchmark):
    """All twelve AUs at once against the resting face."""
    import time

    def once(values):
        start = time.perf_counter()
        render("S000", values, 3)
        return time.perf_counter() - start

    once(np.full(12, 5.0))
    rest = np.median([once(np.zeros(12)) for _ in range(sized(10, 1))])
    benchmark.pedantic(once, (np.full(12, 5.0),), rounds=10)
    if benchmark.enabled:
        assert benchmark.stats["median"] < 2.5 * rest

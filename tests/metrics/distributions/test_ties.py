"""Decisions about distances: those of exact arithmetic, and the same on every processor."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from aubench.audit import doctor
from aubench.metrics.distributions import grams, memorisation
from aubench.metrics.distributions.neighbourhoods import neighbourhoods
from aubench.metrics.distributions.ties import PAIRS, direct, error, kth, nearer, squared


def lattice(seed, n, d, offset=0.0):
    """Points around few centres, all as far from them but for rounding: near-ties everywhere."""
    draw = np.random.default_rng(seed)
    steps, centres = draw.normal(size=d), draw.normal(size=(3, d)) + offset
    return np.stack([centres[i % 3] + draw.permutation(steps) for i in range(n)])


def exact(x, y):
    """Squared distances as ``direct`` must decide them, from its own sums, pair by pair."""
    return np.array(
        [
            [direct(x, np.array([i]), y, np.array([j]))[0] for j in range(len(y))]
            for i in range(len(x))
        ]
    )


def test_direct_is_the_distance_within_its_roundings():
    x, y = lattice(0, 7, 37), lattice(1, 5, 37)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(7), np.arange(5)))
    for value, a, b in zip(direct(x, i, y, j), x[i], y[j], strict=True):
        wanted = sum((Fraction(p) - Fraction(q)) ** 2 for p, q in zip(a, b, strict=True))
        assert value == pytest.approx(float(wanted), rel=1e-15)
    np.testing.assert_array_equal(direct(x, i, y, j), direct(y, j, x, i))


def test_direct_of_many_pairs_is_that_of_each():
    x = np.repeat(lattice(2, 60, 19), 2, 0).astype(np.float32)  # each row twice
    i, j = (a.ravel() for a in np.meshgrid(np.arange(120), np.arange(120)))
    assert len(i) > 3 * PAIRS
    found = direct(x, i, x, j)
    np.testing.assert_array_equal(found.reshape(120, 120), exact(x, x))
    assert (found[i // 2 == j // 2] == 0).all()
    assert direct(x, i[:0], x, j[:0]).shape == (0,)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dimensions", [3, 64, 1280])
def test_the_bound_holds_and_is_not_idle(dimensions, offset):
    x, y = lattice(3, 40, dimensions, offset), lattice(4, 30, dimensions, offset)
    a, b = (x**2).sum(1), (y**2).sum(1)
    gap = np.abs(squared(x @ y.T, a, b) - exact(x, y))
    assert (gap <= error(a, b, dimensions)[:, None]).all()
    assert gap.max() > 0


@pytest.mark.parametrize("noise", [0.0, 0.9, -0.9])
def test_products_that_are_off_by_all_that_is_allowed_decide_nothing(noise):
    """Whatever the kernel, as long as it keeps the bound, the decisions are those of ``direct``."""
    x, y = lattice(5, 60, 24), lattice(5, 60, 24)[::-1].copy()
    y[::3] = x[::3]
    a, b, rows = (x**2).sum(1), (y**2).sum(1), np.arange(60)
    off, true = error(a, b, 24), exact(x, y)
    sign = np.random.default_rng(6).choice([-1.0, 1.0], true.shape)
    away = true + noise * sign * off[:, None]
    radii = kth(away, 5, off, x, rows, y)
    np.testing.assert_array_equal(radii, np.sort(true, 1)[:, 5])
    np.testing.assert_array_equal(
        nearer(away, radii[:, None], off, x, rows, y), true < radii[:, None]
    )
    limits = np.sort(true, 0)[5][None]
    np.testing.assert_array_equal(nearer(away, limits, off, x, rows, y), true < limits)


@pytest.mark.parametrize(("n", "d"), [(101, 37), (64, 256), (33, 5)])
def test_neighbourhoods_are_those_of_the_distances(n, d, monkeypatch):
    real, fake = lattice(7, n, d), lattice(7, n, d)[::-1].copy()
    fake[1::4] = np.random.default_rng(8).normal(size=fake[1::4].shape)
    fake[2] = fake[3]
    own, theirs = (np.sort(exact(a, a), 1)[:, 5] for a in (real, fake))
    between = exact(real, fake)
    for limit in (10, 8000):  # products by blocks, and whole
        monkeypatch.setattr(grams, "GRAM_LIMIT", limit)
        for rows in (1, 7, 64, 4096):
            found = neighbourhoods(real, fake, rows=rows)
            np.testing.assert_array_equal(found.inside, between < own[:, None])
            np.testing.assert_array_equal(found.reached, between < theirs[None])


def test_of_several_nearest_the_first_is_taken_whatever_the_chunk(monkeypatch):
    base = np.repeat(lattice(9, 50, 40), 2, 0)
    queries = lattice(10, 30, 40)
    away, own = exact(queries, base), exact(base, base)
    np.fill_diagonal(own, np.inf)
    for chunk in (1, 7, 256):
        monkeypatch.setattr(memorisation, "CHUNK", chunk)
        found = memorisation.nearest(queries, base)
        np.testing.assert_array_equal(found.index, away.argmin(1))
        np.testing.assert_array_equal(found.distance, np.sqrt(away.min(1)))
        gaps = memorisation.nearest(base, base, np.arange(100))
        np.testing.assert_array_equal(gaps.index, own.argmin(1))


def test_a_set_of_one_image_is_no_burden():
    """A collapsed generator: all pairs tie, and one of them is computed."""
    real, fake = lattice(11, 300, 64), np.repeat(lattice(12, 1, 64), 300, 0)
    found = neighbourhoods(real, fake)
    assert not found.reached.any()
    assert len(np.unique(found.inside.sum(1))) <= 2


def _decisions(kernel=None, threads=1):
    """Return digests of decisions and of products, and the BLAS kernels of another process."""
    code = (
        "import hashlib, json, numpy as np; from threadpoolctl import threadpool_info;"
        "from aubench.audit.doctor import decisions; value = decisions();"
        "x = np.random.default_rng(0).normal(size=(64, 300));"
        "print(json.dumps([value, hashlib.sha256(x @ x.copy().T).hexdigest(),"
        " [i.get('architecture') for i in threadpool_info()"
        " if i['internal_api'] == 'openblas']]))"
    )
    env = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    if kernel:
        env["OPENBLAS_CORETYPE"] = kernel
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def _kernels():
    """Return the kernels that this processor can run, and what they are called once in use."""
    known = {
        "Prescott": ("sse3", "Katmai"),
        "Nehalem": ("sse4_2", "Nehalem"),
        "Sandybridge": ("avx", "Sandybridge"),
        "Haswell": ("avx2", "Haswell"),
        "SkylakeX": ("avx512f", "SkylakeX"),
    }
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8").split() if info.is_file() else []
    return {
        name: called
        for name, (flag, called) in known.items()
        if flag in flags or (flag == "sse3" and "pni" in flags)
    }


def test_every_kernel_decides_alike():
    """Their products differ, the decisions do not."""
    products, here = set(), doctor.decisions()
    for kernel, called in _kernels().items():
        value, product, used = _decisions(kernel)
        assert value == here, kernel
        assert not used or {kernel, called} & set(used), used
        products |= {product} if used else set()
    assert len(products) != 1  # none without OpenBLAS


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_decide_alike(threads):
    with threadpool_limits(threads):
        assert doctor.decisions() == _decisions(threads=threads)[0]

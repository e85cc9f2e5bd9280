"""Speed, as a ratio against the library a user would otherwise call: ``tox -e bench``.

pytest-benchmark prints the times of each group side by side; nothing here asserts a time.
"""

import numpy as np
import pytest
import torch
from sizes import size

N, D = size(1000, 100), size(1280, 64)
SUBSET = N // 2


@pytest.fixture(scope="module")
def features():
    draw = np.random.default_rng(0)
    scale = np.linspace(1, 0.01, D)
    return [np.abs(draw.normal(size=(N, D)) * scale).astype(np.float32) for _ in range(2)]


@pytest.mark.benchmark(group="fid")
def test_fid_here(benchmark, features):
    from aubench.metrics.distributions.frechet import frechet_distance

    value = benchmark.pedantic(frechet_distance, args=features, rounds=3)
    assert value > 0


@pytest.mark.benchmark(group="fid")
def test_fid_torch_fidelity(benchmark, features):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def theirs():
        stats = [
            fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in features
        ]
        return fid_statistics_to_metric(*stats, verbose=False)

    assert benchmark.pedantic(theirs, rounds=1)["frechet_inception_distance"] > 0


@pytest.mark.benchmark(group="kid, 100 subsets")
def test_kid_here(benchmark, features):
    from aubench.metrics.distributions.kernel import kernel_distance_subsets

    benchmark.pedantic(kernel_distance_subsets, args=features, kwargs={"size": SUBSET}, rounds=3)


@pytest.mark.benchmark(group="kid, 100 subsets")
def test_kid_torch_fidelity(benchmark, features):
    from torch_fidelity.metric_kid import kid_features_to_metric

    tensors = [torch.from_numpy(x).double() for x in features]
    benchmark.pedantic(
        kid_features_to_metric,
        args=tensors,
        rounds=1,
        kwargs={"kid_subsets": 100, "kid_subset_size": SUBSET, "verbose": False},
    )


@pytest.mark.benchmark(group="render, one face")
@pytest.mark.parametrize("size", [64, 128, 256])
def test_render(benchmark, size):
    from aubench.facs import labels_of
    from aubench.synfacs.render import render

    values = labels_of([6, 12]) * 4.0
    render("S001", values, 1, size=size)  # subject and compiled loops are set up once
    benchmark(render, "S001", values, 1, size=size)


@pytest.mark.benchmark(group="extractor, 32 faces")
def test_extractor(benchmark):
    from aubench.networks.extractors.registry import load_extractor

    images = np.random.default_rng(1).integers(0, 256, (32, 128, 128, 3)).astype(np.uint8)
    extractor = load_extractor("efficientnet-lite0")
    benchmark.pedantic(extractor, args=(images,), rounds=3)

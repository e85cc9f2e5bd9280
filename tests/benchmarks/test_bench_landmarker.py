"""Speed of the face landmarker on one core, against Google's runtime: ``tox -e bench``.

Sixteen faces of 128 px. Ours does everything, two passes of the detector, points and blendshapes;
theirs runs the three networks once each on inputs that are ready.
"""

import numpy as np
import pytest
import torch
from sizes import size

FACES = size(16, 2)
GROUP = f"face landmarker, {FACES} faces of 128 px, one core"


@pytest.fixture(scope="module")
def images():
    from aubench.synfacs.render import render

    return np.stack([render(f"S{i:03d}", np.zeros(12), 100 * i) for i in range(FACES)])


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tell_per_face(benchmark):
    if benchmark.stats is not None:  # none where each is run once
        benchmark.extra_info["ms a face"] = round(1000 * benchmark.stats.stats.min / FACES, 2)


@pytest.mark.benchmark(group=GROUP)
def test_here(benchmark, mp_face, images, one_thread):
    from aubench.networks.face_landmarker import FaceLandmarker

    landmarker = FaceLandmarker.load(mp_face)
    seen = benchmark.pedantic(landmarker.landmarks, args=(images,), rounds=10, warmup_rounds=1)
    assert seen.found.all()
    tell_per_face(benchmark)


@pytest.mark.benchmark(group=GROUP)
def test_networks_in_litert(benchmark, mp_face):
    from ai_edge_litert.interpreter import Interpreter

    from aubench.networks.face_landmarker.archive import members

    runs = [Interpreter(model_content=data, num_threads=1) for data in members(mp_face).values()]
    for run in runs:
        run.allocate_tensors()

    def theirs():
        for _ in range(FACES):
            for run in runs:
                at = run.get_input_details()[0]
                run.set_tensor(at["index"], np.full(at["shape"], 0.5, np.float32))
                run.invoke()

    benchmark.pedantic(theirs, rounds=10, warmup_rounds=1)
    tell_per_face(benchmark)

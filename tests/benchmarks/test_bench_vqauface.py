"""VQ-AUFace nano: faces a second, and the share of each part; ``tox -e bench``.

``extra_info`` holds tokens per forward and seconds of processor time by part.
"""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sizes import size

FACES = size(32, 2)


@pytest.fixture(scope="module")
def model():
    from vqauface.generator import VQAUFace

    from aubench.generators.contract import WeightSource

    return VQAUFace.load(WeightSource(), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def batch():
    from aubench.facs import AUS
    from aubench.facs.describe import describe
    from aubench.generators.contract import Request
    from aubench.synfacs.render import render

    made = []
    for i in range(FACES):
        text = describe((AUS[i % 12], AUS[(i + 5) % 12]), seed=i).text
        face = render(f"S{330 + i % 4}", np.zeros(12), 4, size=128)
        made.append(Request(f"s{i}", text, None, None, face, i, 128))
    return made


def parts(model):
    """Return what to time: name, object, method."""
    return {
        "text": (model, "_au_tokens"),
        "reference": (model.codec, "codes"),
        "transformer": (model.transformer.blocks, "forward"),
        "levels": (model.transformer.depth, "forward"),
        "decoder": (model.codec, "decode"),
    }


@contextmanager
def timed(model, spent):
    real = {name: getattr(thing, method) for name, (thing, method) in parts(model).items()}

    def watched(name):
        def call(*args, **options):
            start = time.process_time()
            try:
                return real[name](*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - start

        return call

    for name, (thing, method) in parts(model).items():
        setattr(thing, method, watched(name))
    try:
        yield
    finally:
        for thing, method in parts(model).values():
            delattr(thing, method)


@pytest.mark.benchmark(group="vqauface")
def test_faces_a_second(benchmark, model, batch):
    spent: dict[str, float] = {}
    start = time.process_time()
    with timed(model, spent):
        made = model.generate(batch)
    spent["all"] = time.process_time() - start
    shape = model.shape
    benchmark.extra_info |= {k: round(v, 2) for k, v in spent.items()}
    benchmark.extra_info["tokens a forward"] = round(shape.tokens / shape.steps, 1)
    assert made.shape == (FACES, 128, 128, 3)
    benchmark.pedantic(model.generate, args=(batch,), rounds=2)


@pytest.mark.benchmark(group="vqauface half")
def test_faces_a_second_in_bfloat16(benchmark, batch):
    from vqauface.generator import VQAUFace

    from aubench.generators.contract import WeightSource

    half = VQAUFace.load(WeightSource(), device="cpu", dtype="bfloat16")
    made = benchmark.pedantic(half.generate, args=(batch,), rounds=2)
    assert torch.from_numpy(made).float().std() > 10

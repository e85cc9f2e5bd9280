"""The official layout of GANimation's checkpoints, for its tests."""

import numpy as np
from aubench_baselines.ganimation.generator import GANimation

from aubench.generators.contract import Request, WeightSource

SHAPE = {"main.0.weight": (64, 15, 7, 7), "main.3.weight": (128, 64, 4, 4),
         "main.6.weight": (256, 128, 4, 4), "main.15.weight": (256, 128, 4, 4),
         "main.18.weight": (128, 64, 4, 4), "img_reg.0.weight": (3, 64, 7, 7),
         "attetion_reg.0.weight": (1, 64, 7, 7)}  # fmt: skip


NORMS = {1: 64, 4: 128, 7: 256, 16: 128, 19: 64}


def official_shapes():
    """Names and shapes of a published generator conditioned on 12 AUs."""
    shapes = dict(SHAPE)
    for i, width in NORMS.items():
        shapes |= {f"main.{i}.{kind}": (width,) for kind in ("weight", "bias")}
    for i in range(9, 15):
        for part in (0, 3):
            shapes[f"main.{i}.main.{part}.weight"] = (256, 256, 3, 3)
        for part in (1, 4):
            shapes |= {f"main.{i}.main.{part}.{kind}": (256,) for kind in ("weight", "bias")}
    return shapes


def shapes_of_state(state):
    return {name: tuple(value.shape) for name, value in state.items()}


class Bomb:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def request(index=0, size=64, **changes):
    rng = np.random.default_rng(index)
    words = {
        "sample_id": f"s{index}",
        "text": "",
        "aus": (rng.random(12) < 0.4).astype(np.uint8),
        "intensities": None,
        "reference": rng.integers(0, 256, (size, size, 3)).astype(np.uint8),
        "seed": index,
        "size": size,
    }
    return Request(**{**words, **changes})


def load(path, **options):
    return GANimation.load(WeightSource(path), device="cpu", dtype="float32", **options)

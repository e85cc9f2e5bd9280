"""Networks filled by a rule, and the numbers that the authors' own code computed with that filling.

``tests/data/parity`` holds one JSON file a network: names and shapes of its tensors, rules of its
inputs, and mean, spread and chosen values of its outputs in float64. A tensor's values follow from
its name and shape, an input's from its seed, so neither weights nor code of others are needed.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "data" / "parity"


def generator(text):
    return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16))


def weight(name, shape, names):
    """Return float32 values of a tensor: norms near 1, matrices by fan-in, all else small."""
    draw, last = generator(name), name.rpartition(".")[2]
    if last == "running_var":
        return (0.5 + draw.random(shape)).astype(np.float32)
    z = draw.standard_normal(shape)
    if last == "running_mean":
        z *= 0.1
    elif len(shape) >= 2:
        z /= math.sqrt(math.prod(shape[1:])) * (2 if ".res_layer." in name else 1)
    elif last == "weight":
        z = (1 if f"{name.removesuffix('weight')}bias" in names else 0.25) + 0.1 * z
    else:
        z *= 0.1
    return z.astype(np.float32)


def constant(name, shape):
    """Return a tensor that is no weight: a counter, or Swin's index and mask of windows."""
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    row, column = (x.ravel() for x in np.meshgrid(np.arange(7), np.arange(7), indexing="ij"))
    if last == "relative_position_index":
        return 13 * (row[:, None] - row + 6) + column[:, None] - column + 6
    assert last == "attn_mask"
    side = 7 * math.isqrt(shape[0])
    strip = np.searchsorted([side - 7, side - 3], np.arange(side), side="right")
    region = (3 * strip[:, None] + strip).reshape(side // 7, 7, side // 7, 7)
    region = region.transpose(0, 2, 1, 3).reshape(-1, 49)
    return np.where(region[:, :, None] == region[:, None], 0, -100).astype(np.float32)


class Fixture:
    """One network: what to fill it with, what to give it, what must come out."""

    def __init__(self, name):
        self.doc = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))

    def state(self, prefix=""):
        """Return the tensors whose names begin so, by the rest of their names."""
        rows = [row for row in self.doc["tensors"] if row[0].startswith(prefix)]
        names = {name for name, _, _ in rows}
        return {
            name[len(prefix) :]: torch.from_numpy(
                weight(name, tuple(shape), names)
                if kind == "filled"
                else constant(name, tuple(shape))
            )
            for name, shape, kind in rows
        }

    @property
    def inputs(self):
        return {k: given(v) for k, v in self.doc["inputs"].items() if isinstance(v, dict)}

    def check(self, found):
        """Hold outputs against the stated ones, each within its tolerance for float32."""
        for name, value in found.items():
            want, got = self.doc["outputs"][name], value.detach().double().numpy()
            limit = float(want["tolerance"])
            assert list(got.shape) == want["shape"], name
            chosen = got.reshape(-1)[want["indices"]]
            off = np.abs(chosen - np.array(want["values"], float)).max()
            assert off <= limit, f"{name}: {off} away, {limit} allowed"
            assert abs(got.mean() - float(want["mean"])) <= limit, name
            assert abs(got.std() - float(want["std"])) <= limit, name
            assert abs(np.abs(got).max() - float(want["max_abs"])) <= limit, name


def given(rule):
    """Return an input by its rule."""
    draw, shape = generator(rule["seed"]), tuple(rule["shape"])
    if rule["rule"] == "normal":
        values = rule["mean"] + rule["std"] * draw.standard_normal(shape)
        return torch.from_numpy(values.astype(np.float32))
    side = rule.get("side", 1)
    if rule["rule"] == "pixels":
        _, high, wide, channels = shape
        cells = draw.integers(0, 256, (high // side, wide // side, channels), dtype=np.uint8)
        return torch.from_numpy(cells.repeat(side, 0).repeat(side, 1)[None])
    if rule["rule"] == "blocks":
        shape = (*shape[:2], shape[2] // side, shape[3] // side)
    values = (rule["low"] + (rule["high"] - rule["low"]) * draw.random(shape)).astype(np.float32)
    if rule["rule"] == "blocks":
        values = values.repeat(side, 2).repeat(side, 3)
    return torch.from_numpy(values)

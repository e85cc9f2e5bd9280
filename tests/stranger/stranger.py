"""A stranger's generator: the reference face, tinted by its seed; misbehaves on request."""

import os
import time

import numpy as np

from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure


class Stranger(Generator):
    info = GeneratorInfo(
        name="stranger",
        inputs=frozenset({"au", "reference"}),
        size=128,
        training="none",
        trained_on=(),
        metrics_in_training=(),
        licence="MIT",
        citation="none",
    )

    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        assert not options, "a stranger is given no targets"
        if os.environ.get("STRANGER_FAULT") == "load":
            raise RuntimeError("cannot find my weights")
        return cls()

    def generate(self, batch):
        time.sleep(float(os.environ.get("STRANGER_SLEEP", "0")) * len(batch))
        images = []
        for request in batch:
            tint = np.random.default_rng(request.seed).integers(0, 20, (request.size, 1, 3))
            images.append(np.clip(request.reference.astype(int) + tint, 0, 255).astype(np.uint8))
        return self.spoil(np.stack(images), batch)

    def spoil(self, images, batch):
        fault = os.environ.get("STRANGER_FAULT", "")
        if fault == "raise":
            raise ValueError("out of ideas")
        # By the seed: ids tell nothing, and are others in each process.
        failing = [r.sample_id for r in batch if r.seed % 4 == 0]
        if fault == "sample" and failing:
            raise SampleFailure(failing[0], "no face")
        if fault == "nan":
            spoilt = images.astype(np.float32)
            spoilt[-1, 0, 0, 0] = np.nan
            return spoilt
        if fault == "random":
            return np.random.default_rng().integers(0, 255, images.shape).astype(np.uint8)
        return {
            "": images,
            "sample": images,
            "load": images,
            "shape": images[:, :64],
            "dtype": images.astype(np.int32),
            "count": images[:-1],
            "list": list(images),
        }[fault]

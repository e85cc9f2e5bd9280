"""T5-large at its true size on this machine: memory and time of a forward pass and of one step.

    pytest tests/benchmarks/test_bench_textau.py -s

Random weights: the size is what is asked about. Needs about 7 GB of free memory.
"""

import json
import os
import subprocess
import sys

import pytest
from sizes import SMALLEST

PRESET = "nano" if SMALLEST else "t5-large"
NEEDED = 8 << 30

CODE = """
import json, resource, sys, time
from pathlib import Path

import numpy as np
import torch

from aubench.networks.textau.corpus import Worded
from aubench.networks.textau import train as module
from aubench.networks.textau.train import Trainer, settings_for

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)

module.open_corpus = lambda settings: Worded([(6, 12), (1, 4, 15)], "two AU sets")
settings = settings_for(sys.argv[2], from_scratch=True, batch=2, accumulate=2)
start, base = time.perf_counter(), peak()
trainer = Trainer(settings, Path(sys.argv[1]), cpu=True)
out = {"parameters": sum(p.numel() for p in trainer.network.parameters()),
       "GiB before": base, "GiB loaded": peak(), "s to build": time.perf_counter() - start}
start = time.perf_counter()
p = trainer.classifier().probabilities(["The brow is raised and the lips press together."])
out |= {"s forward": time.perf_counter() - start, "GiB forward": peak(), "p": p.tolist()}
before = trainer.network.encoder.shared.weight.detach()[:64].clone()
trainer.model.train()
trainer.step_number = 1  # at step 0 the rate is still 0
trainer._set_rate()
start = time.perf_counter()
out["loss"] = trainer._advance(np.array([0, 1]), np.random.default_rng(0))
moved = (trainer.network.encoder.shared.weight.detach()[:64] - before).abs().max()
out |= {"s step": time.perf_counter() - start, "GiB step": peak(), "moved": float(moved)}
print(json.dumps(out))
"""


def test_t5_large_forward_and_one_training_step(tmp_path):
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < NEEDED and not SMALLEST:
        pytest.skip(f"{free / 2**30:.1f} GiB of memory are free, {NEEDED / 2**30:.0f} are needed")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), PRESET], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.splitlines()[-1])
    print({key: round(v, 2) for key, v in out.items() if isinstance(v, float)})  # noqa: T201
    assert SMALLEST or 334_939_648 < out["parameters"] < 340_000_000
    assert len(out["p"][0]) == 12 and all(0 <= v <= 1 for v in out["p"][0])
    assert 0.3 < out["loss"] < 3 and out["moved"] > 0
    assert out["GiB step"] < 12

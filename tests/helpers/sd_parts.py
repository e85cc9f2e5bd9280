"""A long text and a tiny base, for tests of Stable Diffusion with LoRA."""

import torch
from aubench_baselines.stable_diffusion.base import load_base

LONG = "The lips are firmly pressed and the chin is raised. " * 12


def open_base(base):
    return load_base(str(base), dtype=torch.float32)

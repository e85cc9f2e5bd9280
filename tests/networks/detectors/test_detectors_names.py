"""Detectors at the paper's scale: tensor names, shapes and counts against the published facts."""

import numpy as np
import pytest
import torch
from published_detectors import RESNETS, SWINS, shapes_of

from aubench.networks.detectors.graphau import checkpoints
from aubench.networks.detectors.graphau.checkpoints import Layout

BUFFERS = (
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "relative_position_index",
    "attn_mask",
)


# (keys, parameters) as counted on the official networks; None where not counted there.
COUNTED = {
    ("resnet50", "anfl"): (419, 28_253_784),
    ("resnet50", "mefl"): (461, 31_666_132),
    ("swin-b", "anfl"): (463, None),
    ("swin-b", "mefl"): (505, 94_377_036),
    ("swin-t", "anfl"): (289, None),
    ("swin-t", "mefl"): (331, 31_819_534),
    ("resnet101", "mefl"): (767, None),
    ("resnet18", "mefl"): (263, None),
}


OPEN_COUNTED = {("resnet50", "anfl"): 525, ("resnet50", "mefl"): 565}


def parameters(shapes):
    return sum(int(np.prod(s)) for k, s in shapes.items() if not k.endswith(BUFFERS))


@pytest.mark.parametrize("family", ["me-graphau", "open-graphau"])
@pytest.mark.parametrize("stage", ["anfl", "mefl"])
@pytest.mark.parametrize("backbone", [*RESNETS, *SWINS])
def test_names_shapes_and_counts(family, backbone, stage):
    n = 12 if family == "me-graphau" else 27
    wanted = shapes_of(family, backbone, stage, n)
    layout = Layout(family, backbone, stage, n)
    with torch.device("meta"):
        network = layout.build()
    state = checkpoints.to_official(network, layout, "meta")
    assert {k: tuple(v.shape) for k, v in state.items()} == wanted
    counted = parameters(wanted)
    assert sum(p.numel() for p in network.parameters()) == counted
    if family == "me-graphau":
        keys, total = COUNTED.get((backbone, stage), (None, None))
        outside = [k for k in wanted if not k.startswith("backbone.")]
        assert len(outside) == (101 if stage == "anfl" else 143)
        assert total in (None, counted)
    else:
        keys = OPEN_COUNTED.get((backbone, stage))
    assert keys in (None, len(wanted))
    found = checkpoints.recognise({k: torch.empty(v, device="meta") for k, v in wanted.items()}, "")
    assert found == layout

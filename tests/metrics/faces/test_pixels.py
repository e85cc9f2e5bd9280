"""From a network's floats to pixels, the same in every generator here."""

import numpy as np
import pytest
import torch
from aubench_baselines.ganimation import networks as ganimation_networks
from aubench_baselines.stable_diffusion import sampling as sd_sampling
from vqauface.training import loop

LEVELS = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
WAYS = {
    "vqauface": (loop.to_pixels, LEVELS / 127.5 - 1),
    "ganimation": (ganimation_networks.to_pixels, LEVELS / 127.5 - 1),
    "stable diffusion": (sd_sampling.pixels, LEVELS / 255),
}


@pytest.mark.parametrize(("convert", "images"), WAYS.values(), ids=WAYS)
def test_every_level_survives_the_way_through_floats(convert, images):
    """Cutting off in place of rounding would lower 63 of the 256 levels by one."""
    for dtype in (torch.float32, torch.float64):
        found = convert(images.to(dtype))
        assert found.dtype == np.uint8 and found.shape == (1, 16, 16, 3)
        np.testing.assert_array_equal(found[0, ..., 1].ravel(), np.arange(256))
    loud = convert(torch.full((1, 3, 2, 2), 9.0)), convert(torch.full((1, 3, 2, 2), -9.0))
    assert (loud[0] == 255).all() and (loud[1] == 0).all()


@pytest.mark.parametrize(("convert", "images"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_pixel(convert, images, value):
    bad = images.clone()
    bad[0, 1, 3, 4] = value
    with pytest.raises(ValueError, match="no numbers"):
        convert(bad)

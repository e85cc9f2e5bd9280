"""Training against texture: what the changes do to images, and probabilities at their word."""

import numpy as np
import pytest
import torch

from aubench.networks.detectors.calibration import logit_scale
from aubench.networks.detectors.detector import calibrated
from aubench.networks.detectors.faces import in_memory
from aubench.networks.detectors.training.folds import half
from aubench.networks.detectors.training.settings import settings_for
from aubench.networks.detectors.training.texture import TextureChanges, blurred

WHOLE = slice(0, 6)


def drawn(seed=0, strength=1.0, count=6):
    return TextureChanges.drawn(count, torch.Generator().manual_seed(seed), strength)


def images(count=6):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def test_a_blur_keeps_a_plane_and_weighs_as_a_gaussian():
    plane = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(blurred(plane, 2.6), plane, atol=1e-6)
    dot = torch.zeros(1, 1, 33, 33)
    dot[0, 0, 16, 16] = 1
    found = blurred(dot, 2.0)[0, 0]
    assert float(found[16, 18] / found[16, 16]) == pytest.approx(np.exp(-0.5), abs=1e-4)


def test_without_strength_nothing_changes():
    x = images()
    assert torch.allclose(drawn(strength=0.0).apply(x, WHOLE), x, atol=2e-5)


def test_the_strength_moves_no_draw():
    for name in ("spread", "donors"):
        assert getattr(drawn(3, 0.2), name) == getattr(drawn(3, 1.0), name)


def test_coarse_parts_stay_where_fine_parts_are_another_faces():
    x = images()
    changes = drawn()
    still = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(6, 2, 3)
    none, all_ = torch.zeros(6, 1, 1, 1), torch.ones(6, 1, 1, 1)
    pasted = TextureChanges(1.0, changes.donors, none, all_, none, still).apply(x, WHOLE)
    donor = x.roll(changes.donors[0] % 6, 0)
    expected = (blurred(x, 1.0) + donor - blurred(donor, 1.0)).clamp(0, 1)
    assert torch.allclose(pasted, expected, atol=1e-4)


def test_halves_of_the_subjects_share_nobody():
    subjects = [f"S{i % 7}" for i in range(40)]
    faces = in_memory(np.zeros((40, 4, 4, 3), np.uint8), np.zeros((40, 12), np.int8), subjects)
    even, odd = (set(half(faces, which).subjects) for which in ("even", "odd"))
    assert even | odd == set(subjects)
    assert not even & odd
    assert half(faces, "all") is faces


def test_the_two_shape_readers_learn_from_other_people():
    first, second = settings_for("nano2-a"), settings_for("nano2-b")
    assert first.texture and second.texture
    assert {first.subjects, second.subjects} == {"even", "odd"}
    assert not settings_for("nano-a").texture


def test_a_slope_and_an_offset_are_found_again():
    draw = np.random.default_rng(0)
    logit = draw.normal(0, 2, (20_000, 12))
    truth = 1 / (1 + np.exp(-(0.5 * logit - 1)))
    labels = (draw.random(truth.shape) < truth).astype(np.int8)
    overconfident = (1 / (1 + np.exp(-logit))).astype(np.float32)
    scale = logit_scale(overconfident, labels)
    assert scale[0] == pytest.approx(np.full(12, 0.5), abs=0.05)
    assert scale[1] == pytest.approx(np.full(12, -1.0), abs=0.1)
    assert np.abs(calibrated(overconfident, scale) - truth).mean() < 0.01


def test_an_au_that_never_changes_is_left_alone():
    p = np.full((10, 12), 0.2, np.float32)
    scale = logit_scale(p, np.zeros((10, 12), np.int8))
    assert np.array_equal(scale, np.stack([np.ones(12), np.zeros(12)]).astype(np.float32))
    assert calibrated(p, scale) == pytest.approx(p, abs=1e-6)

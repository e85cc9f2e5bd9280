"""Controls that paste: mean differences of AUs, and the fine part of the target."""

import numpy as np
import pytest
from aubench_baselines.controls import Decals, Texture, mean_differences
from scipy.ndimage import gaussian_filter

from aubench.datasets.registry import find_dataset
from aubench.datasets.samples import SampleSet
from aubench.facs import AUS
from aubench.generators.contract import Request
from aubench.generators.pasting import TEXTURE_SPREAD, with_texture
from aubench.protocols.protocol import load_protocol

SIZE = 32


@pytest.fixture(scope="module")
def samples():
    frame = load_protocol("test2k", "synfacs2").samples().frame.head(6)
    return SampleSet(frame.reset_index(drop=True), "synfacs2")


def made(control, samples):
    source = find_dataset("synfacs2").images(1)
    generator = control.load(None, device="cpu", dtype="float32", samples=samples, images=source)
    batch = [
        Request(
            sample_id=row.sample_id,
            text="",
            aus=None,
            intensities=None,
            reference=None,
            size=SIZE,
            seed=0,
        )
        for row in samples.frame.itertuples()
    ]
    references = source.load_many(list(samples.frame["reference"]), SIZE)
    targets = source.load_many(list(samples.frame["target"]), SIZE)
    return generator.generate(batch), references, targets, source


def test_decals_are_the_references_plus_what_their_aus_do_on_the_mean(samples):
    found, references, _, source = made(Decals, samples)
    decals = mean_differences(samples, source, SIZE)
    assert decals.shape == (12, SIZE, SIZE, 3)
    levels = samples.intensities() / 4
    for row, image, reference in zip(levels, found, references, strict=True):
        whole = reference + (row[:, None, None, None] * decals).sum(0)
        assert np.abs(np.clip(np.round(whole), 0, 255) - image).max() <= 1


def test_decals_of_brows_lie_above_those_of_the_mouth(samples):
    decals = np.abs(mean_differences(samples, find_dataset("synfacs2").images(1), SIZE)).sum((2, 3))
    heights = (decals * np.arange(SIZE)).sum(1) / decals.sum(1)
    assert heights[AUS.index(1)] < heights[AUS.index(12)] - 5
    assert heights[AUS.index(2)] < heights[AUS.index(17)] - 5


def test_texture_has_the_coarse_part_of_the_reference_and_the_fine_one_of_the_target(samples):
    found, references, targets, _ = made(Texture, samples)
    assert np.array_equal(found, with_texture(references, targets))
    spread = (0, TEXTURE_SPREAD * SIZE / 128, TEXTURE_SPREAD * SIZE / 128, 0)
    low, base = (gaussian_filter(x.astype(float), spread) for x in (found, references))
    assert (
        np.abs(low - base).mean()
        < np.abs(base - gaussian_filter(targets.astype(float), spread)).mean()
    )


def test_pasting_a_face_on_itself_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    assert np.abs(with_texture(image, image).astype(int) - image).max() <= 1

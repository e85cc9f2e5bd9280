"""Change outside the commanded regions: closed forms, the faces of synfacs, bad input."""

import numpy as np
import pytest

from aubench._maintain.change_regions import GRID, moved_cells
from aubench.facs import AUS, labels_of
from aubench.metrics.faces.change import (
    cell_change,
    commanded_regions,
    locality,
    outside_change,
    regions,
)
from aubench.synfacs.render import render


def grey(value, side=64):
    return np.full((1, side, side, 3), value, np.uint8)


def test_change_is_placed_cell_by_cell():
    made, reference = grey(100), grey(100)
    made[0, 2:4, 4:6] = 112  # the cell in row 1, column 2 of 32
    change = cell_change(made, reference)
    assert change.shape == (1, GRID, GRID)
    assert change[0, 1, 2] == pytest.approx(12) and change.sum() == pytest.approx(12)
    inside = np.zeros((1, GRID, GRID), bool)
    assert outside_change(change, inside)[0] == pytest.approx(12 / GRID**2)
    assert locality(change, inside)[0] == 0
    inside[0, 1, 2] = True
    assert outside_change(change, inside)[0] == 0
    assert locality(change, inside)[0] == 1
    assert np.isnan(locality(cell_change(made, made), inside)[0])
    assert np.isnan(outside_change(change, np.ones_like(inside))[0])


@pytest.mark.parametrize("side", [32, 50, 128])
def test_cells_cover_every_pixel_once(side):
    rng = np.random.default_rng(side)
    made = rng.integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    change = cell_change(made, np.zeros_like(made))
    edges = [k * side // GRID for k in range(GRID)] + [side]
    for row, column in ((0, 0), (7, 30), (31, 31)):
        block = made[1, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        assert change[1, row, column] == pytest.approx(block.mean())


def test_noise_counts_for_little():
    rng = np.random.default_rng(0)
    reference = grey(128, 128)
    noisy = (reference + rng.normal(0, 2.5, reference.shape)).round().astype(np.uint8)
    assert np.abs(noisy.astype(int) - reference).mean() > 1.9
    assert cell_change(noisy, reference).mean() < 0.5


@pytest.mark.parametrize("au", [2, 12, 17])
def test_a_face_changes_where_its_au_acts(au):
    """Subject and scene are not among those that the regions were read off."""
    intensities = np.array([4.0 if name == au else 0.0 for name in AUS])
    made = render("S350", intensities, 35003, size=128)[None]
    neutral = render("S350", np.zeros(12), 35003, size=128)[None]
    change = cell_change(made, neutral)
    own = commanded_regions(labels_of([au])[None])
    other = commanded_regions(labels_of([1 if au != 2 else 17])[None])
    assert locality(change, own)[0] > 0.55  # the rest is noise
    assert locality(change, other)[0] < 0.35
    assert outside_change(change, own)[0] < 0.5 * outside_change(change, other)[0]


def test_the_shipped_regions_hold_for_subjects_they_were_not_read_off():
    for au in (4, 10, 24):
        moved = moved_cells("S333", au, 33301)
        assert (moved & regions()[AUS.index(au)]).sum() > 0.9 * moved.sum()


def test_regions_of_a_set_are_those_of_its_aus():
    both = commanded_regions(np.stack([labels_of([1, 12]), labels_of([])]))
    one, twelve = regions()[AUS.index(1)], regions()[AUS.index(12)]
    assert (both[0] == (one | twelve)).all() and not both[1].any()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="two uint8"):
        cell_change(grey(1), grey(1, 32))
    with pytest.raises(ValueError, match="at least 32 px"):
        cell_change(grey(1, 16), grey(1, 16))
    with pytest.raises(ValueError, match="regions"):
        locality(np.zeros((1, 32, 32)), np.zeros((2, 32, 32), bool))

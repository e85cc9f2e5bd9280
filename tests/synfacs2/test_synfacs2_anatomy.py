"""synfacs 2 moves skin as FACS describes: landmarks, conflicts, lips that meet, wrinkles."""

from itertools import pairwise

import numpy as np
import pytest

from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs2.anatomy import actions, strain
from aubench.synfacs2.anatomy.actions import ANATOMY, GAIN, calibrate, displacements
from aubench.synfacs2.anatomy.fields import fields
from aubench.synfacs2.anatomy.head import head
from aubench.synfacs2.anatomy.identity import identity
from aubench.synfacs2.anatomy.lips import gap

OUT, UP = 0, 1


def moved(name, level=5.0):
    return displacements(labels_of(parse_aus(name)) * level)


def posed(face, values):
    motion = actions.motion_of(actions.activation(values, face.looks.tilt, face.looks.reach))
    return actions.deform(face.coarse, motion, variant=face.looks.variant)


@pytest.mark.parametrize("au", AUS)
def test_landmarks_go_where_the_table_of_anatomy_says(au):
    found = moved(str(au))
    for reach in ANATOMY[au]:
        value = found[reach.landmark][reach.axis]
        assert value == pytest.approx(reach.millimetres, rel=0.15, abs=0.6), reach


def test_gains_are_those_that_give_the_defining_reach():
    assert calibrate() == pytest.approx(GAIN, abs=0.02)


def test_brows_keep_their_order():
    lowered, raised = moved("4"), moved("1")
    assert lowered["brow_inner"][UP] < lowered["brow_outer"][UP] - 2  # inner most
    assert raised["brow_inner"][UP] > raised["brow_outer"][UP] + 6
    assert moved("2")["brow_outer"][UP] > moved("2")["brow_inner"][UP] + 4


def test_a_smile_against_its_rival_is_stretched_and_level():
    smile, frown, both = (moved(name)["corner"] for name in ("12", "15", "12+15"))
    assert abs(both[UP]) < 2 < smile[UP]
    assert both[UP] > frown[UP] + 4
    assert both[OUT] > 3
    assert moved("12+15+17")["corner"][UP] > moved("15+17")["corner"][UP] + 4


def test_frontalis_against_corrugator_lifts_the_inner_brow_and_sinks_the_outer():
    both = moved("1+4")
    assert both["brow_inner"][UP] > 4
    assert both["brow_outer"][UP] < -2
    assert both["brow_inner"][OUT] < -3  # drawn together


def test_a_raised_cheek_shows_in_the_eye_with_and_without_a_smile():
    for name in ("6", "6+12", "6+12+15"):
        assert moved(name)["lid_lower"][UP] > 1.2, name


def test_excursion_grows_with_every_level():
    for k, au in enumerate(AUS):
        reach = ANATOMY[au][0]
        path = [abs(moved(str(au), level)[reach.landmark][reach.axis]) for level in range(6)]
        assert all(b > a + 0.1 for a, b in pairwise(path)), (k, au, path)


@pytest.mark.parametrize("subject", ["S00021", "S00100", "S01007", "S54321"])
def test_lips_meet_whatever_the_face_does(subject):
    face = identity(subject)
    draw = np.random.default_rng(int(subject[1:]))
    for _ in range(12):
        values = np.where(draw.random(12) < 0.4, draw.uniform(0.6, 5, 12), 0)
        between = gap(posed(face, values)) * 100
        assert between.min() > -0.6, values  # millimetres; below is one through the other
        assert between.max() < 2.6, values


def test_lips_part_on_request():
    face = identity("S00021")
    shut = actions.deform(face.coarse, actions.Motion())
    parted = actions.deform(face.coarse, actions.Motion(), actions.Mouth(0.05))
    assert (gap(parted) - gap(shut))[9] * 100 == pytest.approx(5.0, abs=0.5)  # middle column


def test_halves_of_a_field_add_up_to_the_whole_at_the_midline():
    h = head()
    for name in ("raise_inner", "lips_up", "adduct"):
        whole = np.zeros((len(h.mean), 3))
        for side in (1, -1):
            index, delta = fields()[name, side]
            whole[index] += delta
        middle = np.nonzero((np.abs(h.mean[:, 0]) < 1e-6) & (h.vertex_part == 0))[0]
        assert np.abs(whole[middle, 0]).max() < 2e-4  # nothing sideways there


def test_one_side_alone_moves_one_side():
    face = identity("S00021")
    smile = labels_of((12,)) * 5.0
    active = actions.activation(smile, {12: -1.0})
    still = actions.deform(face.coarse, actions.Motion())
    left = actions.deform(face.coarse, actions.motion_of(active))
    change = np.linalg.norm(left - still, axis=1)
    x, y = head().mean[:, 0], head().mean[:, 1]
    corner = np.abs(y - 6.68) < 0.03
    assert change[corner & (np.abs(x - 0.222) < 0.02)].max() > 0.05
    assert change[corner & (np.abs(x + 0.222) < 0.02)].max() < 0.01


def test_a_still_face_has_no_strain_and_no_wrinkles():
    rest = identity("S00021").rest
    assert np.abs(strain.strain(rest, rest)).max() < 1e-5
    assert not strain.wrinkles(rest, rest, 1, 1.0).any()


def test_strain_of_a_scaled_head_is_that_of_the_textbook():
    rest = head().mean
    found = strain.strain(rest, rest * np.float32(0.9))
    live = np.abs(found[0]) > 0
    expected = 0.5 * (0.9**2 - 1)  # Green strain of an even shrinkage
    assert np.allclose(found[:2, live], expected, atol=1e-3)
    assert np.abs(found[2, live]).max() < 1e-3


def test_wrinkles_lie_across_the_compression():
    rest = head().mean
    for axis, lines_along in ((1, 0), (0, 1)):
        squeezed = rest.copy()
        squeezed[:, axis] *= np.float32(0.85)
        found = strain.strain(rest, squeezed)
        amp = strain._amplitudes(
            found,
            strain.plan().regions,
            strain.DIRECTIONS,
            np.float32(1),
            np.float32(1),
            np.array(strain.WAVELENGTHS, np.float32),
        )
        by_direction = amp[0].sum((1, 2))
        assert by_direction.argmax() == (0, strain.DIRECTIONS // 2)[lines_along]


def test_old_skin_wrinkles_more_than_young():
    face = identity("S00021")
    raised = posed(face, labels_of((1, 2)) * 5.0)
    young, old = (np.abs(strain.wrinkles(face.rest, raised, 3, age)).sum() for age in (0.0, 1.0))
    assert old > 1.5 * young > 0


def test_no_two_subjects_wrinkle_alike():
    face = identity("S00021")
    raised = posed(face, labels_of((1, 2)) * 5.0)
    first, second = (strain.wrinkles(face.rest, raised, seed, 0.8) for seed in (1, 2))
    both = (first != 0) & (second != 0)
    assert abs(np.corrcoef(first[both], second[both])[0, 1]) < 0.3

"""The renderer: pure, calibrated, and obedient to the interaction rules."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs.anatomy import actions
from aubench.synfacs.anatomy.looks import looks, stream
from aubench.synfacs.keys import SPLITS, format_key, parse_key
from aubench.synfacs.render import landmarks, render, render_key

FULL = 5.0


def moved(name, intensity=FULL):
    return actions.displacements(labels_of(parse_aus(name)) * intensity)


def linear(name):
    parts = [moved(str(au)) for au in parse_aus(name)]
    return {point: sum(part[point] for part in parts) for point in parts[0]}


@given(
    subject=st.integers(0, 399),
    scene=st.integers(0, 10**9),
    tenths=st.lists(st.integers(0, 50), min_size=12, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_keys_round_trip(subject, scene, tenths):
    values = np.array(tenths, np.float32) / 10
    key = format_key(f"S{subject:03d}", values, scene)
    name, back, again = parse_key(key)
    assert name == f"S{subject:03d}" and again == scene
    np.testing.assert_allclose(back, values, atol=1e-6)


@pytest.mark.parametrize(
    "key",
    [
        "S400/1/neutral",
        "S001/1",
        "S001/1/5=2.0",
        "S001/1/12=2.0+6=1.0",
        "S001/-1/neutral",
        "S001/1/6=7.0",
        "S001/01/neutral",
        "../x",
    ],
)
def test_bad_keys_are_refused(key):
    with pytest.raises(AubenchError):
        parse_key(key)


def test_splits_are_disjoint_and_of_the_stated_sizes():
    sizes = {name: len(numbers) for name, numbers in SPLITS.items()}
    assert sizes == {"train": 280, "validation": 40, "test": 80}
    assert len(set().union(*SPLITS.values())) == 400


def test_images_are_the_same_in_another_process():
    key = "S007/701/6=3.0+12=4.0"
    code = (
        "import hashlib; from aubench.synfacs.render import render_key\n"
        "render_key('S100/1/neutral', size=64)\n"  # what was rendered before must not matter
        f"print(hashlib.sha256(render_key({key!r}, size=64).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(render_key(key, size=64).tobytes()).hexdigest()
    assert done.stdout.strip() == here


def test_what_a_key_names_changes_the_image():
    base = render("S020", np.zeros(12), 5, size=64).astype(int)
    assert np.abs(render("S021", np.zeros(12), 5, size=64) - base).mean() > 5
    assert np.abs(render("S020", np.zeros(12), 6, size=64) - base).mean() > 5
    smile = render("S020", labels_of([12]) * 4.0, 5, size=64)
    assert 0.5 < np.abs(smile - base).mean() < 20


def test_streams_do_not_shift_each_other():
    first = stream("S001", "hair").random(3)
    stream("S001", "something new").random(100)
    assert (stream("S001", "hair").random(3) == first).all()
    assert (stream("S002", "hair").random(3) != first).all()


def test_subjects_vary():
    people = [looks(f"S{i:03d}") for i in range(0, 400, 4)]
    assert 0.3 < np.mean([p.sex > 0.5 for p in people]) < 0.7
    assert np.ptp([p.age for p in people]) > 0.6
    assert np.ptp([p.melanin for p in people]) > 1.5
    assert len({p.style for p in people}) >= 4


def test_gains_are_the_calibrated_ones():
    assert actions.calibrate() == pytest.approx(actions.GAIN, abs=0.01)


@pytest.mark.parametrize("au", AUS)
def test_intensity_moves_the_landmark_by_the_stated_millimetres(au):
    point, axis, reach = actions.REACH[au]
    along = [float(moved(str(au), level)[point] @ np.array(axis)) for level in (1, 2, 3, 4, 5)]
    assert along == sorted(along) and along[0] > 0
    assert along[-1] == pytest.approx(reach, rel=0.02)
    assert along[2] == pytest.approx(reach * actions.EXCURSION[3], rel=0.25)


def test_12_15_is_stretched_and_ends_below_rest():
    corner = moved("12+15")["corner"]
    assert corner[0] > 3 and corner[1] < -1
    assert linear("12+15")["corner"][1] - corner[1] > 3


def test_1_4_is_oblique():
    brow = moved("1+4")
    assert brow["brow_inner"][1] > 4 and brow["brow_outer"][1] < 0
    assert brow["brow_inner"][0] < -1
    assert brow["brow_inner"][1] - linear("1+4")["brow_inner"][1] > 2


@pytest.mark.parametrize("name", ["12+15+17", "6+12+15+17"])
def test_12_15_17_is_an_inverted_u(name):
    face = moved(name)
    assert face["corner"][1] < -2 and face["lip_lower"][1] > 5
    assert linear(name)["corner"][1] - face["corner"][1] > 3


def test_1_2_4_is_raised_and_straight():
    brow = moved("1+2+4")
    assert brow["brow_inner"][1] > 3 and brow["brow_outer"][1] > 3
    assert abs(brow["brow_inner"][1] - brow["brow_outer"][1]) < 1.5
    assert brow["brow_inner"][0] < -1


def test_landmarks_of_a_subject_follow():
    rest, smile = landmarks("S050", np.zeros(12)), landmarks("S050", labels_of([12]) * 5.0)
    lift = smile["corner"] - rest["corner"]
    assert 4 < lift[1] < 13 and lift[0] > 2


REGION = {
    1: "top",
    2: "top",
    4: "top",
    6: "middle",
    7: "middle",
    10: "low",
    12: "low",
    14: "low",
    15: "low",
    17: "low",
    23: "low",
    24: "low",
}


@pytest.mark.parametrize("au", AUS)
def test_each_au_shows_where_its_muscle_is(au):
    rest = render("S331", np.zeros(12), 33, size=128).astype(float)
    face = render("S331", labels_of([au]) * 4.0, 33, size=128).astype(float)
    change = np.abs(face - rest).mean(2)
    change[change < 8] = 0  # sensor noise
    rows = {"top": slice(0, 52), "middle": slice(30, 85), "low": slice(50, 128)}
    assert change[rows[REGION[au]]].sum() > 0.6 * change.sum()
    assert (change > 12).mean() > 0.003


def test_golden_face_within_two_grey_levels():
    from pathlib import Path

    from PIL import Image

    golden = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "golden.png"))
    face = render_key("S042/4203/1=3.0+6=2.5+12=4.0", size=64)
    assert np.abs(face.astype(int) - golden).max() <= 2


def test_unknown_framing_and_subject():
    with pytest.raises(AubenchError, match="framing"):
        render("S001", np.zeros(12), 1, framing="feet")
    with pytest.raises(AubenchError, match="S999"):
        render("S999", np.zeros(12), 1)
    assert render("S001", np.zeros(12), 1, size=64, framing="head").shape == (64, 64, 3)

"""Motion of faces: lazy, overdone, elsewhere, and by whom it is not seen."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from aubench.facs import AUS
from aubench.metrics.evaluation_data import CommandedIntensities, EvaluationData, ReferenceArrays
from aubench.metrics.faces.motion import (
    NETWORK,
    Motion,
    direction_error,
    distance,
    gain_sums,
    motion_table,
    moves_of,
    spill_over,
)
from aubench.metrics.faces.own_points import expressive, own_points, regions
from aubench.networks.face_landmarker.landmarker import NOTES
from aubench.networks.face_landmarker.names import STABLE

N = 24
HEAD = np.random.default_rng(0).normal(0, 30, (478, 3)).astype(np.float32) + 100
HEAD[33], HEAD[263] = (60, 100, 0), (140, 100, 0)  # level eyes, 80 px apart


def seen(points, found=None):
    """What the landmark network would have seen of faces with such points [N, 478, 3]."""
    n = len(points)
    found = np.ones(n, np.float32) if found is None else found
    return {
        "points": points * (found[:, None, None] > 0),
        "blendshapes": np.zeros((n, 52), np.float32),
        "presence": np.ones(n, np.float32),
        "found": found,
        "faces": found,
        "box": np.ones((n, 4), np.float32),
        "notes": np.zeros((n, len(NOTES)), np.float32),
    }


def face_data(factor=1.0, turned=0.0, beside=0.0, found=None):
    """Faces that move as the targets do by a factor, turned by degrees, and elsewhere by pixels."""
    draw = np.random.default_rng(3)
    labels = np.zeros((N, 12), np.uint8)
    labels[np.arange(N), np.arange(N) % 12] = 1
    own = labels.astype(int) @ own_points().astype(int) > 0
    own[:, list(STABLE)] = False
    step = draw.normal(0, 4, (N, 478, 3)).astype(np.float32) * own[..., None]
    step[..., 2] = 0
    angle = np.radians(turned)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    made = step.copy()
    made[..., :2] = factor * step[..., :2] @ turn.T.astype(np.float32)
    outside = expressive() & ~(labels.astype(int) @ regions().astype(int) > 0)
    made[..., 0] += np.float32(beside) * outside
    sides = [{NETWORK: seen(HEAD + part, f)} for part, f in ((made, found), (step, None))]
    return EvaluationData(
        generated=sides[0],
        targets=sides[1],
        generated_rows=np.arange(N),
        labels=labels,
        target_au_probabilities=labels.astype(np.float32),
        subjects=[f"S{i % 6:03d}" for i in range(N)],
        thresholds={},
        pairs={},
        reference_set="made-up-1.0/all@01234567",
        extractor="",
        network_ids={NETWORK: "mp-face@1 0"},
        target_source="labels",
        strata=["all"] * N,
        reference_arrays=ReferenceArrays({NETWORK: seen(HEAD[None])}, np.zeros(N, np.int64)),
        commanded=CommandedIntensities(
            labels * np.float32(2.5), ["r"] * N, graded=False, scale=None
        ),
    )


def rows_of(data):
    return {row.metric: row for row in Motion().score(data)}


@pytest.mark.parametrize("factor", [1.0, 0.4, 1.7])
def test_gain_is_the_share_of_the_targets_motion(factor):
    rows = rows_of(face_data(factor))
    assert rows["motion_gain"].value == pytest.approx(factor, rel=1e-4)
    assert rows["motion_direction"].value == pytest.approx(0, abs=0.1)
    assert rows["motion_gain"].id == (
        f"motion-gain|mp-face@1|to=reference|ref=made-up-1.0/all@01234567|n={N}"
    )


def test_a_face_that_moves_elsewhere_has_the_angle_and_less_gain():
    rows = rows_of(face_data(turned=60))
    assert rows["motion_direction"].value == pytest.approx(60, abs=0.1)
    assert rows["motion_gain"].value == pytest.approx(0.5, rel=1e-3)


def test_a_copy_of_the_reference_is_lazy_and_spills_nothing():
    rows = rows_of(face_data(0.0))
    assert rows["motion_gain"].value == pytest.approx(0, abs=1e-6)
    assert rows["motion_direction"].value == 90
    assert rows["motion_spill"].value == pytest.approx(0, abs=1e-4)
    whole = rows_of(face_data())["motion_distance"]
    assert whole.value == pytest.approx(0, abs=1e-4)
    assert rows["motion_distance"].value > 1


def test_motion_outside_the_regions_of_the_commanded_aus_is_spill_over_in_percent_of_the_eyes():
    data = face_data(beside=4.0)
    rows = rows_of(data)
    assert rows["motion_spill"].value == pytest.approx(5.0, rel=1e-3)  # 4 px of 80
    assert rows["motion_gain"].value == pytest.approx(1, rel=1e-3)
    values = Motion().per_sample(data)["motion_spill"]
    assert values.mean() == pytest.approx(rows["motion_spill"].value)
    assert Motion().subject_sums(data)["motion_spill"](np.ones((1, 6)))[0] == pytest.approx(
        5.0, 1e-3
    )


def test_faces_that_are_not_found_count_as_still_and_targets_without_one_are_left_out():
    found = np.ones(N, np.float32)
    found[0] = 0
    data = face_data(found=found)
    rows = rows_of(data)
    assert "no face found in 1 generated images" in rows["motion_gain"].note
    assert rows["motion_gain"].value < 0.999 and rows["motion_direction"].value > 3
    none = {NETWORK: seen(data.targets[NETWORK]["points"], found)}
    row = rows_of(replace(face_data(), targets=none))["motion_gain"]
    assert row.n == N - 1 and "1 samples left out" in row.note
    kept = np.arange(4, N)
    part = {NETWORK: {k: v[kept] for k, v in face_data().generated[NETWORK].items()}}
    rows = rows_of(replace(face_data(), generated=part, generated_rows=kept))
    assert "4 failed samples count as faces that did not move" in rows["motion_gain"].note
    assert rows["motion_direction"].value == pytest.approx(90 * 4 / N, abs=0.2)


def test_without_a_witness_there_is_a_reason_and_no_number():
    data = replace(
        face_data(), reference_arrays=None, unavailable={"witness": "weights are missing"}
    )
    rows = rows_of(data)
    assert {row.value for row in rows.values()} == {None}
    assert rows["motion_gain"].note == "weights are missing"
    assert not Motion().per_sample(data) and not Motion().strata(data)


def test_the_table_has_each_au_whole_and_by_level():
    data = face_data(0.4)
    found = list(csv.DictReader(io.StringIO(motion_table(data, moves_of(data)))))
    assert {(row["AU"], row["level"]) for row in found} == {
        (f"AU{au}", level) for au in AUS for level in ("", "C")
    }
    assert all(float(row["gain"]) == pytest.approx(0.4, rel=1e-3) for row in found)
    parts = Motion().strata(data)
    assert parts["AU12"][0].value == pytest.approx(0.4, rel=1e-3)
    assert parts["AU12"][0].id.startswith("motion-gain/AU12|")


def test_the_functions_agree_with_what_they_say_on_single_points():
    up, chosen = np.array([[[0.0, 1.0]]]), np.array([[True]])
    top, bottom = gain_sums(2 * up, up, chosen)
    assert top / bottom == 2
    assert np.isnan(direction_error(up, 0 * up, chosen))[0]
    assert direction_error(0 * up, up, chosen)[0] == 90
    assert spill_over(3 * up, up, chosen)[0] == 200 and spill_over(0 * up, up, chosen)[0] == 0
    assert distance(-up, up, chosen)[0] == 200
    assert np.isnan(distance(up, up, ~chosen))[0]


def test_every_au_has_points_of_its_own_that_do_not_set_the_head():
    table = own_points()
    assert table.any(1).all() and not table[:, list(STABLE)].any()
    assert (regions() >= table).all() and expressive().sum() > 100

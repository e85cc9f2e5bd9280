"""AU skill: what it is by construction, which readers it asks, and what they disagree on."""

import re
from dataclasses import replace

import numpy as np
import pytest

from aubench.facs import AUS
from aubench.metrics.action_units.au_skill import (
    DISAGREE,
    AuSkill,
    correlation,
    families_of,
    reading_of,
    skill,
)
from aubench.metrics.evaluation_data import EvaluationData
from aubench.metrics.statistics.resampling import resamples

N = 60


def made_up(strength=(0.8, 0.8, 0.8), still=0.0):
    """Two detectors of a renderer and a witness of photographs, which see AUs so strongly."""
    draw = np.random.default_rng(4)
    labels = (draw.random((N, 12)) < 0.3).astype(np.uint8)
    labels[:, 0] = 1 - labels[:, 1]
    sides = []
    for factor in (strength, (0.9, 0.9, 0.9)):
        seen = {}
        for name, share in zip("abw", factor, strict=True):
            p = share * labels + 0.05 * draw.random((N, 12))
            if name == "w":
                p = still + (1 - still) * p
            seen[name] = {"probabilities": np.clip(p, 0, 1).astype(np.float32)}
        sides.append(seen)
    return EvaluationData(
        generated=sides[0],
        targets=sides[1],
        generated_rows=np.arange(N),
        labels=labels,
        target_au_probabilities=labels.astype(np.float32),
        subjects=[f"S{i % 12:03d}" for i in range(N)],
        thresholds={name: np.full(12, 0.5, np.float32) for name in "abw"},
        pairs={},
        reference_set="made-up-1.0/all",
        extractor="",
        network_ids={name: f"{name}.1 0" for name in "abw"},
        target_source="labels",
        strata=["few" if i % 2 else "many" for i in range(N)],
        primary_detector="a",
        independent_detector="b",
        witness="w",
        families={"a": "renderer", "b": "renderer", "w": "photographs"},
        unmoved={"w": np.full((N, 12), still, np.float32)} if still else {},
    )


def rows_of(data):
    return {row.metric: row for row in AuSkill().score(data)}


def test_a_neutral_face_has_none_and_errors_of_either_kind_cost_alike():
    labels = np.zeros((4, 12), int)
    labels[:, :3] = 1
    assert skill(labels, labels) == 1 and skill(np.zeros((4, 12)), labels) == 0
    missing, added, worse = labels.copy(), labels.copy(), labels.copy()
    missing[:, 0], added[:, 5], worse[:, 5:9] = 0, 1, 1
    assert skill(missing, labels) == pytest.approx(skill(added, labels)) == pytest.approx(2 / 3)
    assert skill(worse, labels) == pytest.approx(-1 / 3)
    assert np.isnan(skill(labels, np.zeros((4, 12), int)))
    hidden = labels.copy()
    hidden[:, 5:9] = -1  # a reader that does not know them
    assert skill(worse, hidden) == 1


def test_the_correlation_is_pearsons_and_knows_no_base_rate():
    draw = np.random.default_rng(1)
    labels = (draw.random((50, 12)) < 0.4).astype(int)
    p = draw.random((50, 12))
    expected = np.mean([np.corrcoef(p[:, k], labels[:, k])[0, 1] for k in range(12)])
    assert correlation(p, labels) == pytest.approx(expected)
    assert correlation(0.3 + 0.1 * p, labels) == pytest.approx(expected)
    assert correlation(np.full((50, 12), 0.4), labels) == 0
    flat = labels.copy()
    flat[:, 0] = 1  # commanded always: nothing to correlate with
    rest = np.mean([np.corrcoef(p[:, k], labels[:, k])[0, 1] for k in range(1, 12)])
    assert correlation(p, flat) == pytest.approx(rest)


def test_each_reader_has_a_row_with_the_targets_share_and_an_interval():
    data = made_up()
    rows = rows_of(data)
    for tail, name in (("first", "a"), ("second", "b"), ("witness", "w")):
        row = rows[f"au_skill_{tail}"]
        assert row.value == pytest.approx(skill(data.probabilities(name), data.labels))
        assert row.ci[0] < row.value < row.ci[1]
        assert row.id == f"au-skill|{name}.1|commanded|ref=made-up-1.0/all|n={N}"
        truth = skill(data.targets[name]["probabilities"], data.labels)
        found = re.match(r"targets reach ([\d.]+); share ([\d.]+) \[", row.note)
        assert [float(x) for x in found.groups()] == pytest.approx(
            [truth, row.value / truth], abs=6e-4
        )
        assert rows[f"au_pearson_{tail}"].value == pytest.approx(
            correlation(data.probabilities(name), data.labels)
        )


def test_a_failed_sample_counts_as_a_neutral_face():
    data = made_up()
    kept = np.arange(10, N)
    part = {
        name: {"probabilities": seen["probabilities"][kept]}
        for name, seen in data.generated.items()
    }
    rows = rows_of(replace(data, generated=part, generated_rows=kept))
    p = data.probabilities("b").copy()
    p[:10] = 0
    assert rows["au_skill_second"].value == pytest.approx(skill(p, data.labels))
    assert "10 failed samples count as neutral faces" in rows["au_skill_second"].note


def test_a_face_that_did_not_move_has_none_by_a_witness_that_sees_something_in_it():
    data = made_up(still=0.12)
    same = {**data.generated, "w": {"probabilities": data.unmoved["w"]}}
    row = rows_of(replace(data, generated=same))["au_skill_witness"]
    assert row.value == pytest.approx(0, abs=1e-6) and "w.1-less-unmoved|" in row.id
    p = reading_of(data, "w").made
    assert p == pytest.approx(made_up().probabilities("w"), abs=1e-5)


def test_the_smallest_share_over_families_ranks_and_tells_where_they_disagree():
    data = made_up((0.9, 0.7, 0.72))
    found, weak = families_of(data)
    assert [(one.name, one.readers) for one in found] == [
        ("renderer", ("a", "b")),
        ("photographs", ("w",)),
    ]
    assert not weak
    shares = {
        name: skill(data.probabilities(name), data.labels)
        / skill(data.targets[name]["probabilities"], data.labels)
        for name in "abw"
    }
    row = rows_of(data)["au_skill"]
    assert row.value == pytest.approx(min(shares.values())) == pytest.approx(shares["b"])
    assert "renderer 0." in row.note and "a.1,b.1,w.1" in row.id
    apart = rows_of(made_up((0.9, 0.9, 0.2)))["au_skill"]
    assert apart.note.startswith(DISAGREE) and apart.value < 0.5
    assert not rows_of(made_up())["au_skill"].note.startswith(DISAGREE)


def test_a_reader_to_whom_targets_show_too_little_ranks_nothing():
    data = made_up()
    blank = {**data.targets, "w": {"probabilities": np.zeros((N, 12), np.float32)}}
    row = rows_of(replace(data, targets=blank))["au_skill"]
    assert "w" not in row.id.split("|")[1] and "one family alone" in row.note
    assert "the targets show w too little" in row.note


def test_aus_that_a_reader_does_not_know_are_in_its_id_and_in_no_sum():
    data = replace(made_up(), known_aus={"w": np.isin(AUS, (1, 2, 12))})
    row = rows_of(data)["au_skill_witness"]
    assert "w.1-without-AU4+6+7+10+14+15+17+23+24|" in row.id
    known = np.isin(AUS, (1, 2, 12))
    expected = skill(data.probabilities("w")[:, known], data.labels[:, known])
    assert row.value == pytest.approx(expected)
    parts = AuSkill().strata(data)
    assert [r.metric for r in parts["AU1"]] == [
        "au_skill_first",
        "au_skill_second",
        "au_skill_witness",
    ]
    assert [r.metric for r in parts["AU4"]] == ["au_skill_first", "au_skill_second"]
    rows = np.arange(N) % 2 == 1
    assert parts["few"][0].value == pytest.approx(
        skill(data.probabilities("a")[rows], data.labels[rows])
    )


def test_resamples_of_the_number_that_ranks_are_those_of_its_subjects():
    data = made_up((0.9, 0.7, 0.72))
    whole = np.arange(N)
    found = AuSkill().resampled(data, [whole, *resamples(data.subjects, 30)])["au_skill"]
    assert found.replicates[0] == pytest.approx(found.value)
    assert found.value == pytest.approx(rows_of(data)["au_skill"].value)
    assert found.replicates.std() > 0

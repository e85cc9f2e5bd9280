"""Adversarial gap: what a purification takes from an attack, and from an honest face."""

from dataclasses import replace

import numpy as np
import pytest

from aubench.audit.witness.controls import attacked
from aubench.audit.witness.pictures import Samples
from aubench.metrics.action_units.adversarial import MARGIN, SUSPECT, AdversarialGap
from aubench.metrics.action_units.au_skill import skill
from aubench.metrics.evaluation_data import EvaluationData, PurifiedReadings
from aubench.networks.detectors import load_detectors
from aubench.networks.purification import PURIFIED, purified
from aubench.synfacs.render import render

N = 12


@pytest.fixture(scope="module")
def faces():
    """Targets, references and labels of six people, and both detectors."""
    draw = np.random.default_rng(0)
    labels = np.zeros((N, 12), np.uint8)
    for row in labels:
        row[draw.choice(12, 3, replace=False)] = 1
    people = [f"S{321 + i // 2:03d}" for i in range(N)]
    targets = np.stack(
        [render(who, 4.0 * row, 7, size=96) for who, row in zip(people, labels, strict=True)]
    )
    references = np.stack([render(who, np.zeros(12), 7, size=96) for who in people])
    return Samples(targets, references, labels, people), load_detectors("nano-a,nano-b")


def data_of(made, samples, detectors):
    def seen(images):
        return {one.name: {"probabilities": one.probabilities(images)} for one in detectors}

    pure = seen(purified(made)), seen(purified(samples.targets))
    return EvaluationData(
        generated=seen(made),
        targets=seen(samples.targets),
        generated_rows=np.arange(N),
        labels=samples.labels,
        target_au_probabilities=samples.labels.astype(np.float32),
        subjects=samples.subjects,
        thresholds={one.name: one.thresholds for one in detectors},
        pairs={},
        reference_set="made-up-1.0/all@01234567",
        extractor="",
        network_ids={one.name: f"{one.id} 0" for one in detectors},
        target_source="labels",
        strata=["all"] * N,
        purified={
            one.name: PurifiedReadings(*(side[one.name]["probabilities"] for side in pure))
            for one in detectors
        },
    )


def test_an_attack_is_flagged_and_an_honest_face_is_not(faces):
    samples, detectors = faces
    made = attacked(samples, detectors)
    assert np.abs(made.astype(int) - samples.references).max() <= 4
    data = data_of(made, samples, detectors)
    rows = AdversarialGap().score(data)
    assert rows[0].note.startswith(SUSPECT)  # of twelve faces the interval by nano-b is wider
    for row, one in zip(rows, detectors, strict=True):
        before, after = (
            skill(one.probabilities(x), samples.labels) for x in (made, purified(made))
        )
        assert row.value == pytest.approx(before - after, abs=1e-6) and row.value > MARGIN
        assert "targets lose" in row.note and f"|{PURIFIED}|" in row.id
    honest = data_of(samples.targets, samples, detectors)
    for row in AdversarialGap().score(honest):
        assert not row.note.startswith(SUSPECT)
        assert row.note == f"targets lose {row.value:.3f}"
    lazy = AdversarialGap().score(data_of(samples.references, samples, detectors))
    assert all(abs(row.value) < MARGIN for row in lazy)


def test_a_detector_that_was_shown_no_purified_image_has_a_reason(faces):
    samples, detectors = faces
    data = replace(data_of(samples.targets, samples, detectors), purified={})
    rows = AdversarialGap().score(data)
    assert [row.value for row in rows] == [None, None] and "no purified ones" in rows[0].note


def test_purification_is_mild_and_the_same_each_time(faces):
    images = faces[0].targets
    once = purified(images)
    assert np.array_equal(once, purified(images)) and once.dtype == np.uint8
    assert 0.2 < np.abs(once.astype(int) - images).mean() < 6

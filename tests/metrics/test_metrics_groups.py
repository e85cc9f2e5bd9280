"""Groups of subjects: sums against the plain metric, a calibrated test, few subjects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from aubench.metrics.statistics.groups import compare_group, f1_sums, holm, mean_sums

SUBJECTS = np.repeat([f"S{i:02d}" for i in range(20)], 6)


def members(sums, names):
    return np.isin(sums.subjects, names)


def test_the_mean_of_a_group_is_that_of_its_samples():
    rng = np.random.default_rng(0)
    values = rng.normal(size=len(SUBJECTS))
    values[::7] = np.nan
    sums = mean_sums(values, SUBJECTS)
    own = members(sums, ["S03", "S11"])
    found = sums(np.stack([own, ~own]).astype(float))
    mask = np.isin(SUBJECTS, ["S03", "S11"])
    np.testing.assert_allclose(found, [np.nanmean(values[mask]), np.nanmean(values[~mask])])


def test_f1_of_a_group_is_that_of_its_samples():
    rng = np.random.default_rng(1)
    labels = (rng.random((len(SUBJECTS), 12)) < 0.3).astype(np.uint8)
    labels[:, 5] = 0
    found = rng.random(labels.shape) < 0.4
    found[:, 5] = False  # neither asked for nor found: no part of the mean
    sums = f1_sums(found, labels, SUBJECTS)
    mask = np.isin(SUBJECTS, ["S00", "S07", "S19"])
    value = sums(members(sums, ["S00", "S07", "S19"]).astype(float)[None])[0]
    kept = [k for k in range(12) if k != 5]
    assert value == pytest.approx(
        f1_score(labels[mask][:, kept], found[mask][:, kept], average="macro")
    )


def test_the_test_is_calibrated_on_subjects_that_differ_by_chance():
    """Images of a subject share a part; taking images as independent would cry wolf."""
    rng = np.random.default_rng(2)
    p = []
    for _ in range(300):
        values = rng.normal(size=20)[np.repeat(np.arange(20), 6)] + 0.3 * rng.normal(size=120)
        sums = mean_sums(values, SUBJECTS)
        p.append(compare_group(sums, np.arange(20) < 8, count=199).p)
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_a_difference_is_found_and_has_its_sign_and_interval():
    rng = np.random.default_rng(3)
    values = rng.normal(size=120) * 0.5 + np.where(SUBJECTS < "S08", 1.0, 0.0)
    sums = mean_sums(values, SUBJECTS)
    score = compare_group(sums, np.arange(20) < 8)
    assert score.p < 0.002 and 0.7 < score.difference < 1.3
    assert score.ci[0] < score.value < score.ci[1] and score.subjects == 8
    opposite = compare_group(sums, np.arange(20) >= 8)
    assert opposite.difference == pytest.approx(-score.difference)


def test_what_cannot_be_told_is_said():
    sums = mean_sums(np.ones(120), SUBJECTS)
    few = compare_group(sums, np.arange(20) < 4)
    assert np.isnan(few.value) and few.reason == "4 subjects" and few.ci is None
    assert np.isnan(compare_group(sums, np.arange(20) < 17).value)
    same = compare_group(sums, np.arange(20) < 10, count=99)
    assert same.p == 1 and same.difference == 0
    empty = mean_sums(np.where(SUBJECTS < "S10", np.nan, 1.0), SUBJECTS)
    undefined = compare_group(empty, np.arange(20) < 10)
    assert np.isnan(undefined.p) and "undefined" in undefined.reason


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.02, float("nan"), 0.9])
    assert adjusted[0] == pytest.approx(0.04) and np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.9)
    assert holm([]) == []


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_p_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(a >= b - 1e-12 and a <= 1 for a, b in zip(adjusted, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= -1e-12).all()
    assert min(adjusted) == pytest.approx(min(1, min(p) * len(p)))

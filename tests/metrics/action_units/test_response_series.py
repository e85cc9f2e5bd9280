"""Intensity response: closed forms of the measures, the shipped scale."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics.action_units import response as curves
from aubench.networks.detectors.detector import WEIGHTS
from aubench.networks.detectors.intensity import (
    IntensityScale,
    evidence,
    fit,
    fit_au,
    level_weights,
    load_scale,
    write_scale,
)
from aubench.networks.network_choice import INDEPENDENT_DETECTOR, PRIMARY_DETECTOR
from aubench.protocols.protocol import load_protocol

NAN = float("nan")


LEVELS = np.arange(6.0)


def test_order_is_spearmans_with_ties_and_gaps():
    draw = np.random.default_rng(1)
    series = draw.integers(0, 4, (50, 6)).astype(float)
    series[:10, 2] = NAN
    found = curves.rank_correlation(series, LEVELS)
    for values, rho in zip(series, found, strict=True):
        known = np.isfinite(values)
        if np.ptp(values[known]):
            assert rho == pytest.approx(stats.spearmanr(values[known], LEVELS[known])[0])
        else:
            assert rho == 0


@given(arrays.arrays(float, (4, 6), elements=st.integers(-9, 9).map(float)))
def test_order_knows_no_scale(series):
    first = curves.rank_correlation(series, LEVELS)
    assert first == pytest.approx(curves.rank_correlation(np.exp(series / 20), LEVELS))
    assert first == pytest.approx(-curves.rank_correlation(-series, LEVELS))


def test_order_of_nothing():
    flat, few = np.full((1, 6), 2.0), np.array([[1.0, 2, NAN, NAN, NAN, NAN]])
    assert curves.rank_correlation(flat, LEVELS) == [0] and curves.flat(flat).all()
    assert np.isnan(curves.rank_correlation(few, LEVELS)).all()
    # noise far under any step is no order either
    assert curves.rank_correlation(flat + LEVELS * 1e-6, LEVELS) == [0]


def test_line_is_least_squares():
    draw = np.random.default_rng(2)
    series = LEVELS * 0.8 + draw.standard_normal((20, 6))
    slope, share = curves.line(series, LEVELS)
    for values, a, r in zip(series, slope, share, strict=True):
        fitted = stats.linregress(LEVELS, values)
        assert a == pytest.approx(fitted.slope)
        assert r == pytest.approx(fitted.rvalue**2 if fitted.slope > 0 else 0)


def test_line_through_little():
    cases = np.array(
        [LEVELS, -LEVELS, np.full(6, 3.0), [1, NAN, 3, NAN, NAN, NAN], [0, NAN, 2, NAN, 4, NAN]]
    )
    slope, share = curves.line(cases, LEVELS)
    assert slope == pytest.approx([1, -1, 0, NAN, 1], nan_ok=True)
    assert share == pytest.approx([1, 0, 0, NAN, 1], nan_ok=True)


def test_steps_down():
    cases = np.array(
        [
            LEVELS,
            -LEVELS,
            [0, 1, 2, 1, 3, 4],
            np.full(6, 1.0),
            [0, NAN, 1, 2, NAN, 1],
            [NAN, 1, NAN, 0, NAN, NAN],
        ]
    )
    found = curves.violations(cases)
    assert found == pytest.approx([0, 1, 1 / 5, 0.5, 0, NAN], nan_ok=True)


def test_random_and_flat_series_go_down_equally_often():
    draw = np.random.default_rng(3)
    assert curves.violations(draw.standard_normal((4000, 6))).mean() == pytest.approx(0.5, abs=0.01)


def test_a_switch_with_noise_is_what_the_page_says():
    series = np.random.default_rng(5).random((4000, 6))
    series[:, 0] = -1
    assert curves.rank_correlation(series, LEVELS).mean() == pytest.approx(3 / 7, abs=0.02)
    assert curves.violations(series).mean() == pytest.approx(0.4, abs=0.01)


@given(
    arrays.arrays(float, 4, elements=st.floats(-5, 5)),
    arrays.arrays(float, 4, elements=st.floats(-5, 5)),
    st.floats(-2, 2),
)
def test_interaction_is_what_is_no_sum(rows, columns, strength):
    sums = rows[None, :, None] + columns[None, None, :]
    assert curves.interaction(sums) == pytest.approx(np.zeros((1, 3, 3)), abs=1e-9)
    a, b = np.array([0, 1, 3, 5.0]), np.array([0, 1, 3, 5.0])
    joint = sums + strength * a[None, :, None] * b
    assert curves.interaction(joint)[0] == pytest.approx(
        strength * np.outer(a[1:], b[1:]), abs=1e-8
    )
    size = abs(strength) * 9.0  # the mean of 1, 3, 5 times itself
    assert curves.interaction_error(sums, joint) == pytest.approx([size], abs=1e-8)
    assert curves.interaction_size(joint) == pytest.approx([size], abs=1e-8)
    assert curves.interaction_error(joint, joint) == pytest.approx([0], abs=1e-9)


def test_interaction_of_a_part_of_a_grid():
    grid = np.fromfunction(lambda s, a, b: a * b + 0 * s, (2, 4, 4))
    grid[0, 3, 3] = NAN
    grid[1, 0, 0] = NAN  # every contrast needs it
    size = curves.interaction_size(grid)
    assert size[0] == pytest.approx((np.outer([1, 2, 3], [1, 2, 3]).sum() - 9) / 8)
    assert np.isnan(size[1])


def test_agreement_forgives_an_offset_and_nothing_else():
    draw = np.random.default_rng(4)
    true = draw.uniform(0, 5, (200, 3))
    found = np.stack([true[:, 0] + 2, true[:, 1] * 0.2, draw.permutation(true[:, 2])], 1)
    icc = curves.agreement(found, true)
    assert icc[0] == pytest.approx(1) and 0.2 < icc[1] < 0.6 and abs(icc[2]) < 0.2
    assert curves.distance(found, true)[:3] == pytest.approx(abs(found - true)[:3].mean(1))


def test_agreement_without_a_command():
    found, true = np.ones((4, 3)), np.zeros((4, 3))
    true[:, 1] = NAN
    true[0, 2] = 1
    assert np.isnan(curves.agreement(found, true)[:2]).all()
    assert curves.agreement(found, true)[2] == 0  # no spread in what was found
    assert np.isnan(curves.agreement(found[:1], true[:1])).all()
    assert np.isnan(curves.distance(found[:1], np.full((1, 3), NAN))).all()


def test_evidence_is_a_logit_that_stays_finite():
    p = np.array([0, 1e-9, 0.25, 0.5, 0.75, 1], np.float32)
    assert np.isfinite(evidence(p)).all() and evidence(p)[3] == 0
    assert evidence(p)[4] == pytest.approx(np.log(3)) == -evidence(p)[2]
    assert (
        evidence(p)[0] == pytest.approx(-evidence(p)[5]) and np.isnan(evidence(np.array([NAN])))[0]
    )


def test_levels_weigh_the_same():
    weights = level_weights(np.array([0, 0, 0, 0.5, 1, 2, 3, 4, 5, 4.9]))
    assert weights[:3].sum() == weights[3:5].sum() == weights[5] == weights[8:].sum() == 1


def made_up(count, seed):
    """Evidence that bends and saturates, with noise."""
    draw = np.random.default_rng(seed)
    true = np.where(draw.random((count, 12)) < 0.5, draw.uniform(0, 5, (count, 12)), 0)
    logit = 14 * np.tanh(true / 3) - 6 + 0.5 * draw.standard_normal(true.shape)
    return 1 / (1 + np.exp(-logit)), true


def test_a_scale_is_learned_and_rises():
    p, true = made_up(3000, 1)
    scale = IntensityScale("x", fit(p, true), {})
    assert all(
        len(x) <= 30 and (np.diff(x) > 0).all() and (np.diff(y) > 0).all() for x, y in scale.knots
    )
    new_p, new = made_up(2000, 2)
    found = scale(new_p)
    assert (curves.agreement(found, new) > 0.95).all()
    assert found.min() >= 0 and found.max() <= 5 and np.abs(found - new).mean() < 0.3
    with pytest.raises(AubenchError, match="no scale"):
        fit_au(np.zeros(50), np.linspace(0, 5, 50))


def test_the_shipped_scale_is_loaded_for_its_own_weights_only(tmp_path):
    from aubench.networks.detectors import load_detector

    second, first = load_detector(INDEPENDENT_DETECTOR), load_detector(PRIMARY_DETECTOR)
    scale = load_scale(second)
    assert scale is not None and scale.card["test"]["mean"]["ICC"] > 0.9
    assert load_scale(replace(second, sha256="0" * 64)) is None and load_scale(first) is None
    write_scale(tmp_path / "nano-b.intensity.json", second, scale.knots, {"seed": 1})
    again = load_scale(second, tmp_path)
    p = np.random.default_rng(0).random((20, 12))
    assert again is not None and (again(p) == scale(p)).all() and again.id != scale.id


@pytest.mark.parametrize("damage", ["not json", "{}", "fall", "short"])
def test_a_damaged_scale_is_refused(tmp_path, damage):
    from aubench.networks.detectors import load_detector

    path = tmp_path / "nano-b.intensity.json"
    data = json.loads((WEIGHTS / path.name).read_text())
    if damage == "fall":
        data["knots"]["AU4"][1].reverse()
    elif damage == "short":
        data["knots"]["AU4"][0].pop()
    path.write_text(json.dumps(data) if damage in ("fall", "short") else damage)
    with pytest.raises(AubenchError, match=r"nano-b\.intensity\.json"):
        load_scale(load_detector(INDEPENDENT_DETECTOR), tmp_path)


def test_the_shipped_scale_reads_faces_of_strangers():
    from aubench.datasets import image_source
    from aubench.networks.detectors import load_detector

    frame = load_protocol("intensity").samples().frame
    detector = load_detector(INDEPENDENT_DETECTOR)
    scale = load_scale(detector)
    for au in (1, 17):
        rows = frame[frame["strata"] == f"sweep {au}"]
        rows = rows[rows["subject"].isin(sorted(set(rows["subject"]))[:3])]
        images = image_source("synfacs").load_many(list(rows["target"]), 128)
        p = detector.probabilities(images)
        column, asked = AUS.index(au), rows[f"I{au}"].to_numpy()
        assert scale is not None and stats.spearmanr(evidence(p)[:, column], asked)[0] > 0.9
        assert np.abs(scale(p)[:, column] - asked).mean() < 1
        others = np.delete(scale(p), column, 1)
        assert others.mean() < 0.5


@pytest.mark.parametrize("bed", ["synfacs", "synfacs2"])
def test_faces_that_fit_a_scale_are_of_their_split(bed):
    from aubench._maintain.intensity_scale import draw, quality
    from aubench.datasets.registry import find_dataset

    beds = importlib.import_module(f"aubench.{bed}.keys")
    keys, values = draw(find_dataset(bed), "validation", 200, 1)
    for key, row in zip(keys, values, strict=True):
        subject, told, *_ = beds.parse_key(key)
        assert int(subject[1:]) in beds.SPLITS["validation"] and told == pytest.approx(row)
    active = values[values > 0]
    assert active.min() < 0.5 and active.max() > 4.8
    told = quality(values, values)
    assert told["mean"]["ICC"] == 1 and told["mean"]["MAE where active"] == 0

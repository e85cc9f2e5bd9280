"""Intensity response: scores of made-up generators on the frozen protocol, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from aubench.facs import AUS
from aubench.metrics.evaluation_data import CommandedIntensities, EvaluationData
from aubench.metrics.registry import metric
from aubench.networks.detectors.intensity import (
    IntensityScale,
)
from aubench.networks.network_choice import INDEPENDENT_DETECTOR, PRIMARY_DETECTOR
from aubench.protocols.protocol import load_protocol

NAN = float("nan")
BOTH = (PRIMARY_DETECTOR, INDEPENDENT_DETECTOR)


SCALE = IntensityScale("straight", ((np.array([-10.0, 15]), np.array([0.0, 5])),) * 12, {})


def probabilities(levels):
    return (1 / (1 + np.exp(-(np.asarray(levels, float) * 5 - 10)))).astype(np.float32)


def measured(samples, shown, truth=None, graded=True, scale=SCALE, failed=()):
    """Return what a run holds if the second detector sees these levels [N, 12]."""
    known = samples.intensities()
    kept = np.setdiff1d(np.arange(len(samples)), failed)
    seen, true = probabilities(shown), probabilities(known if truth is None else truth)
    frame = samples.frame
    return EvaluationData(
        generated={name: {"probabilities": seen[kept]} for name in BOTH},
        targets={name: {"probabilities": true} for name in BOTH},
        generated_rows=kept,
        labels=samples.labels(),
        target_au_probabilities=samples.labels().astype(np.float32),
        subjects=samples.subjects(),
        thresholds={INDEPENDENT_DETECTOR: np.full(12, 0.5, np.float32)},
        pairs={},
        reference_set="synfacs-1.0/intensity",
        extractor="",
        network_ids={name: f"{name}@0 0" for name in BOTH},
        target_source="labels",
        strata=[str(s) for s in frame["strata"]],
        commanded=CommandedIntensities(known, [str(k) for k in frame["reference"]], graded, scale),
    )


@pytest.fixture(scope="module")
def samples():
    """Three AUs swept and one grid, on four subjects."""
    whole = load_protocol("intensity").samples()
    frame = whole.frame
    wanted = frame["strata"].isin(["sweep 1", "sweep 12", "sweep 24", "grid 6+12 x 15"])
    few = sorted(set(frame[frame["strata"] == "grid 6+12 x 15"]["subject"]))[:4]
    return whole.subset((wanted & frame["subject"].isin(few)).to_numpy())


def scores(m):
    return {row.metric: row for row in metric("response").score(m)}


def test_a_generator_that_obeys(samples):
    found = scores(measured(samples, samples.intensities()))
    assert len(samples) == 4 * (3 * 6 + 16)
    for name in ("spearman", "linearity", "response_icc", "intensity_icc"):
        assert found[name].value == pytest.approx(1, abs=1e-4), name
        assert found[name].ci == pytest.approx((1, 1), abs=1e-4) and found[name].higher_is_better
    for name in ("violations", "response_mae", "intensity_mae", "interaction"):
        assert found[name].value == pytest.approx(0, abs=1e-4), name
        assert not found[name].higher_is_better
    assert "sweeps=12" in found["spearman"].id and "+intensity@straight" in found["linearity"].id
    assert found["spearman"].n == 72 and found["interaction"].n == 64
    assert "targets reach 1.000" in found["spearman"].note
    assert "slope 1.000; targets reach 1.000, slope 1.000" in found["linearity"].note


def test_a_generator_that_obeys_in_reverse(samples):
    known = samples.intensities()
    found = scores(measured(samples, np.where(samples.labels(), 5 - known, 0)))
    # level 0 is shown as 0, E as 0: ranks 1.5, 6, 5, 4, 3, 1.5
    assert found["spearman"].value == pytest.approx(
        stats.spearmanr([0, 4, 3, 2, 1, 0], range(6))[0], abs=1e-6
    )
    assert found["violations"].value == pytest.approx(4 / 5)
    assert found["linearity"].value == 0 and "slope -0." in found["linearity"].note


def test_a_witness_has_curves_of_the_aus_that_it_knows(samples, tmp_path):
    asked = samples.intensities()
    data = measured(samples, asked)
    sides = [{**side, "w": side[INDEPENDENT_DETECTOR]} for side in (data.generated, data.targets)]
    data = replace(
        data,
        generated=sides[0],
        targets=sides[1],
        witness="w",
        network_ids={**data.network_ids, "w": "w@1 0"},
        known_aus={"w": np.isin(AUS, (1, 12))},
    )
    found = scores(data)
    row = found["spearman_witness"]
    assert row.value == pytest.approx(1) and "sweeps=8" in row.id  # two AUs, four subjects
    assert "w does not know AU2" in row.note
    assert found["violations_witness"].value == 0
    (path,) = metric("response").artefacts(data, tmp_path)
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + (2 * 3 + 2) * 6  # two detectors see three AUs
    shown = probabilities(np.arange(6))
    assert f"w,AU12,5,{shown[5]:.4f},{shown[5]:.4f}" in lines
    still = {**sides[0], "w": {"probabilities": probabilities(0 * asked)}}
    lazy = scores(replace(data, generated=still))["spearman_witness"]
    assert lazy.value == 0 and "8 of 8 series do not respond" in lazy.note
    without = replace(measured(samples, asked), unavailable={"witness": "fetch it"})
    assert scores(without)["spearman_witness"].note == "fetch it"


def test_a_generator_that_only_switches(samples):
    """The right AU, always at C: some order, little line, and the level is wrong by half."""
    found = scores(measured(samples, samples.labels() * 3.0))
    rho = stats.spearmanr([0, 3, 3, 3, 3, 3], range(6))[0]
    assert found["spearman"].value == pytest.approx(rho, abs=1e-6)
    assert found["violations"].value == pytest.approx(4 * 0.5 / 5)
    assert found["response_mae"].value == pytest.approx((0 + 2 + 1 + 0 + 1 + 2) / 6, abs=1e-4)


def test_a_generator_that_does_nothing(samples):
    found = scores(measured(samples, np.full((len(samples), 12), 0.5)))
    for name in ("spearman", "linearity"):
        assert found[name].value is None and found[name].ci is None
        assert "12 of 12 series do not respond" in found[name].note
    assert "slope 0.000" in found["linearity"].note
    assert found["violations"].value == 0.5
    assert found["response_icc"].value == pytest.approx(0, abs=1e-6)


def test_some_series_that_do_nothing_count_as_none(samples):
    shown = samples.intensities().copy()
    shown[:, AUS.index(24)] = 0
    found = scores(measured(samples, shown))
    assert found["spearman"].value == pytest.approx(2 / 3, abs=1e-6)
    assert "4 of 12 series do not respond" in found["spearman"].note
    by = metric("response").strata(measured(samples, shown))
    assert [row.value for row in by["sweep 24"] if row.metric == "spearman"] == [None]
    assert by["sweep 1"][0].value == pytest.approx(1)


def test_aus_that_suppress_each_other(samples):
    known = samples.intensities().astype(float)
    smile, droop = AUS.index(12), AUS.index(15)
    truth = known.copy()
    truth[:, smile] *= 1 - 0.1 * known[:, droop]  # the interaction of AU12: -0.1 a b
    found = scores(measured(samples, known, truth))
    size = 0.1 * 9 / 3  # one AU of three
    assert found["interaction"].value == pytest.approx(size, abs=1e-3)
    assert f"only add up has {size:.3f}" in found["interaction"].note
    assert scores(measured(samples, truth, truth))["interaction"].value == pytest.approx(
        0, abs=1e-3
    )
    # as strongly as the truth, but the other way round
    other = known.copy()
    other[:, smile] *= 1 + 0.1 * known[:, droop]
    other[:, smile] = np.minimum(other[:, smile], 5)
    assert scores(measured(samples, other, truth))["interaction"].value > size


def test_samples_that_failed_are_as_wrong_as_can_be(samples):
    known = samples.intensities()
    at = next(
        i for i, s in enumerate(samples.frame["strata"]) if s == "sweep 12" and known[i].max() == 5
    )
    found = scores(measured(samples, known, failed=[at]))
    assert "1 failed samples count as farthest" in found["spearman"].note
    rho = stats.spearmanr([0, 1, 2, 3, 4, -9], range(6))[0]
    assert found["spearman"].value == pytest.approx((11 + rho) / 12, abs=1e-6)
    assert found["response_mae"].value == pytest.approx(5 / 72, abs=1e-4)
    assert found["intensity_mae"].value == pytest.approx(5 / len(samples), abs=1e-4)


def test_one_subject_has_no_interval(samples):
    one = samples.subset((samples.frame["subject"] == samples.subjects()[0]).to_numpy())
    found = scores(measured(one, one.intensities()))
    assert found["spearman"].value == pytest.approx(1)
    assert all(row.ci is None for row in found.values())


def test_parts_of_series_have_a_reason(samples):
    part = samples.subset(list(range(0, len(samples), 11)))
    found = scores(measured(part, part.intensities()))
    assert found["interaction"].value is None and found["interaction"].note == "no complete grid"
    two = samples.subset((samples.frame["combination"] == "neutral").to_numpy())
    found = scores(measured(two, two.intensities()))
    for name in ("spearman", "linearity", "violations", "response_icc", "intensity_icc"):
        assert found[name].value is None and found[name].note, name


def test_protocols_that_command_no_levels():
    part = load_protocol("test2k").samples().limit(60)
    m = measured(part, part.intensities(), graded=False)
    found = scores(m)
    assert set(found) == {"intensity_icc", "intensity_mae"} and not metric("response").strata(m)
    assert found["intensity_icc"].value == pytest.approx(1, abs=1e-4)
    assert "the texts tell no intensity" in found["intensity_icc"].note
    assert m.commanded is not None
    unknown = replace(m.commanded, intensities=np.full((len(part), 12), NAN, np.float32))
    for nothing in (unknown, None):
        (row,) = metric("response").score(replace(m, commanded=nothing))
        assert row.value is None and "no intensities are known" in row.note
    (row,) = metric("response").score(replace(m, commanded=replace(m.commanded, scale=None)))
    assert row.value is None and "aubench._maintain.intensity_scale" in row.note


def test_aaad_leaves_out_what_asks_for_nothing(samples):
    found = {
        row.metric: row for row in metric("aaad").score(measured(samples, samples.intensities()))
    }
    quiet = int((samples.labels().sum(1) == 0).sum())
    assert quiet == 4 * 4 and found["aaad"].n == len(samples) - quiet
    assert f"{quiet} samples that ask for no AU" in found["aaad"].note
    only = samples.subset((samples.frame["combination"] == "neutral").to_numpy())
    found = {row.metric: row for row in metric("aaad").score(measured(only, only.intensities()))}
    assert found["aaad"].value is None and "ask for no AU" in found["aaad"].note


def test_generators_are_told_intensities_in_their_own_way():
    from aubench.generators.contract import Generator, GeneratorInfo
    from aubench.generators.requests import requests

    part = load_protocol("intensity").samples().limit(20)

    def ask(*inputs):
        info = GeneratorInfo(
            name="one",
            inputs=frozenset(inputs),
            size=128,
            training="none",
            trained_on=(),
            metrics_in_training=(),
            licence="MIT",
            citation="none",
        )
        generator = type("One", (Generator,), {"info": info, "load": None, "generate": None})
        return requests(part, None, generator(), range(len(part)), 128)

    by_label, by_text = ask("au"), ask("text")
    assert all(
        (r.intensities == part.intensities()[i]).all() and not r.text
        for i, r in enumerate(by_label)
    )
    assert all(
        r.intensities is None and r.text == part.frame["text"].iloc[i]
        for i, r in enumerate(by_text)
    )


def test_response_belongs_to_full_and_to_graded_protocols():
    from aubench.cli.metric_choice import metrics_of

    assert "response" in metrics_of("paper", None, "intensity", "synfacs")
    assert "response" not in metrics_of("paper", None, "test2k", "synfacs")
    assert metrics_of("full", None, "intensity", "synfacs").count("response") == 1


def test_command_scores_a_part_of_the_protocol(aubench, tmp_path):
    out = tmp_path / "run"
    words = ("run", "--model", "oracle", "--protocol", "intensity", "--limit", "12", "--out", out)
    shown = aubench(*words, "--metrics", "aaad,au,response", check=0).stdout
    rows = {row["metric"]: row for row in json.loads((out / "record.json").read_text())["scores"]}
    assert rows["spearman"]["value"] is None and "no series" in rows["spearman"]["note"]
    assert "—" in shown and rows["intensity_mae"]["value"] < 1
    assert rows["aaad"]["id"].split("|")[2] == "target=labels"

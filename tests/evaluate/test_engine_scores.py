"""Scorers on what a run may bring: one subject, constant answers, AUs that never occur."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aubench.evaluate.evaluate import scores_of
from aubench.metrics.action_units.aaad import scaled_cosines
from aubench.metrics.evaluation_data import EvaluationData, ReferenceFaces
from aubench.metrics.registry import chosen, metric
from aubench.networks.network_choice import INDEPENDENT_DETECTOR, PRIMARY_DETECTOR
from aubench.records.record import read_record
from aubench.run.provenance import hardware

BOTH = (PRIMARY_DETECTOR, INDEPENDENT_DETECTOR)
N, ATTRIBUTES = 60, ("sex", "age")
PURE = (
    "fid",
    "kid",
    "is",
    "prdc",
    "lpips",
    "pixels",
    "change",
    "identity",
    "aaad",
    "au",
    "control",
)


def subset_scores(data, names):
    return scores_of(data, chosen(names))[1]


def group_scores(data, names):
    return scores_of(data, chosen([*names, "groups"]))[2]


def measured(**changes):
    """Plausible measurements of 12 subjects; ``changes`` break them."""
    rng = np.random.default_rng(5)
    labels = (rng.random((N, 12)) < 0.3).astype(np.uint8)
    labels[:, 0] = 1
    subjects = [f"S{i % 12:03d}" for i in range(N)]

    def network():
        return {
            "net": {"features": rng.normal(size=(N, 8)), "logits": rng.normal(size=(N, 5))},
            PRIMARY_DETECTOR: {"probabilities": rng.random((N, 12)).astype(np.float32)},
            INDEPENDENT_DETECTOR: {"probabilities": rng.random((N, 12)).astype(np.float32)},
            "who": {"embeddings": rng.normal(size=(N, 6)).astype(np.float32)},
        }

    pairs = {
        name: rng.random(N).astype(np.float32)
        for name in (
            "lpips",
            "rms",
            "ssim",
            "outside",
            "locality",
            "outside_of_target",
            "locality_of_target",
        )
    }
    whole = EvaluationData(
        generated=network(),
        targets=network(),
        generated_rows=np.arange(N),
        labels=labels,
        target_au_probabilities=labels.astype(np.float32),
        subjects=subjects,
        thresholds={name: np.full(12, 0.5, np.float32) for name in BOTH},
        pairs=pairs,
        reference_set="synfacs-1.0/made-up",
        extractor="net|clean",
        network_ids={name: f"{name}-id 0" for name in ("net", *BOTH, "who")},
        target_source="labels",
        strata=["all"] * N,
        aaad_constants={},
        references=ReferenceFaces(
            "who",
            rng.normal(size=(24, 6)).astype(np.float32),
            [f"S{i % 12:03d}" for i in range(24)],
            np.arange(N) % 24,
        ),
        attributes={
            "sex": ["female" if int(s[1:]) % 2 else "male" for s in subjects],
            "age": ["younger" if int(s[1:]) < 3 else "older" for s in subjects],
        },
    )
    return replace(whole, **changes)


def scores(m):
    return {row.metric: row for name in PURE for row in metric(name).score(m)}


def test_every_headline_score_has_an_interval_around_it():
    for row in scores(measured()).values():
        if row.metric.startswith("au_f1_") or row.metric in (
            "aaad_ceiling",
            "aaad_floor",
        ):
            continue
        assert row.ci is not None, row.metric
        assert row.ci[0] <= row.value + 1e-9 and row.value - 1e-9 <= row.ci[1], row.metric


def test_one_subject_gives_values_without_intervals():
    rows = scores(measured(subjects=["S001"] * N))
    assert all(row.ci is None for row in rows.values())
    assert rows["fid"].value is not None and rows["au_f1"].value is not None


def test_too_few_strangers_leave_the_rate_open():
    found = measured()
    alone = replace(found.references, subjects=["S001"] * 24)
    rows = scores(replace(found, references=alone))
    assert rows["verification"].value is None and "strangers" in rows["verification"].note
    assert rows["identity"].value is not None
    rows = scores(replace(found, references=None, unavailable={"identity": "weights are missing"}))
    assert rows["identity"].value is None and rows["identity"].note == "weights are missing"


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_constant_answers_score_without_a_crash(constant):
    found = measured()
    generated = dict(found.generated)
    for name in (PRIMARY_DETECTOR, INDEPENDENT_DETECTOR):
        generated[name] = {"probabilities": np.full((N, 12), constant, np.float32)}
    generated["net"] = {"features": np.ones((N, 8)), "logits": np.ones((N, 5))}
    rows = scores(replace(found, generated=generated))
    assert rows["is"].value == pytest.approx(1)
    assert rows["au_auc"].value == pytest.approx(0.5)
    expected = 0 if constant == 0 else 2 * found.labels.mean(0) / (1 + found.labels.mean(0))
    assert rows["au_f1"].value == pytest.approx(np.mean(expected))
    assert rows["off_target"].value == constant


@pytest.mark.filterwarnings("error")
def test_a_detector_that_says_the_same_of_all_targets_gives_no_scale():
    """One command for all samples, one answer to all: true pairs are like shuffled ones."""
    found = measured(
        target_au_probabilities=np.ones((N, 12), np.float32), strata=["a"] * 30 + ["b"] * 30
    )
    same = {"probabilities": np.full((N, 12), 0.5, np.float32)}
    found = replace(found, targets={**found.targets, **dict.fromkeys(BOTH, same)})
    rows = scores(found)
    for name in ("aaad", "aaad_second"):
        assert rows[name].value is None and "the same cosines" in rows[name].note
    assert "au_f1" in rows and np.isnan(scaled_cosines(found, PRIMARY_DETECTOR)).all()
    parts = subset_scores(found, PURE)
    assert [row.value is None for row in parts["a"]] == [True, False]
    group_scores(found, PURE)


def test_an_au_that_never_occurs_is_a_dash_and_not_a_zero():
    found = measured()
    labels = found.labels.copy()
    labels[:, 3] = 0
    generated = {**found.generated}
    p = generated[INDEPENDENT_DETECTOR]["probabilities"].copy()
    p[:, 3] = 0
    generated[INDEPENDENT_DETECTOR] = {"probabilities": p}
    rows = scores(replace(found, labels=labels, generated=generated))
    assert rows["au_f1_6"].value is None and "undefined" in rows["au_f1_6"].note
    others = [rows[f"au_f1_{au}"].value for au in (1, 2, 4, 7, 10, 12, 14, 15, 17, 23, 24)]
    assert rows["au_f1"].value == pytest.approx(np.mean(others))


def test_nothing_asked_for_has_no_region():
    found = measured()
    rows = scores(replace(found, labels=np.zeros((N, 12), np.uint8)))
    for name in ("outside_change", "locality"):
        assert rows[name].value is None and f"undefined in {N} of {N}" in rows[name].note


def test_groups_are_scored_against_the_others_and_counted_once():
    groups = group_scores(measured(), PURE)
    assert set(groups) == {"sex=female", "sex=male", "age=younger", "age=older"}
    for female, male in zip(groups["sex=female"], groups["sex=male"], strict=True):
        assert female.metric == male.metric
        assert (
            female.note.split("adjusted")[1].split(",")[0]
            == (male.note.split("adjusted")[1].split(",")[0])
        )
    for row in groups["age=younger"]:
        assert row.value is None and "3 subjects" in row.note


def test_a_group_that_is_served_worse_is_marked():
    found = measured()
    values = dict(found.pairs)
    female = np.array(found.attributes["sex"]) == "female"
    values["lpips"] = np.where(female, 0.9, 0.1).astype(np.float32)
    groups = group_scores(replace(found, pairs=values), ("lpips",))
    worse = groups["sex=female"][0]
    assert worse.value == pytest.approx(0.9) and worse.note.startswith("differs: +0.8")


def test_a_run_reports_identity_change_and_groups(aubench, tmp_path):
    words = ("run", "--model", "copy-reference", "--protocol", "test2k", "--limit", 24)
    done = aubench(*words, "--metrics", "aaad,au,identity,change,groups", "--out", "run", check=0)
    record = read_record(tmp_path / "run" / "record.json")
    assert record.score("identity").value == pytest.approx(1, abs=1e-6)
    assert "nano-id@" in record.score("identity").id
    assert record.score("verification").value == 1
    assert record.score("outside_change").value == 0
    assert record.score("locality").value is None
    assert {"sex=female", "skin=dark", "age=younger"} <= set(record.groups)
    assert "by subject" in done.stdout


def test_threads_a_gpu_and_its_libraries_are_part_of_the_hardware(monkeypatch):
    assert "cuDNN" not in hardware() or torch.cuda.is_available()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert hardware().endswith(
        f"cores, torch threads 3; Card 9, CUDA {torch.version.cuda}, cuDNN 91002"
    )


def test_strata_without_a_scale_of_aaad_have_a_reason_and_no_number(small_runs):
    """The same that the score of the whole has."""
    from aubench.comparison.runs import open_run

    found = open_run(small_runs["oracle"]).evaluation_data(("aaad", "au"))
    usual = subset_scores(found, ("aaad", "au"))
    key = f"{found.network_id(found.primary_detector)}|{found.target_source}"
    alike = subset_scores(replace(found, aaad_constants={key: (0.5, 0.5)}), ("aaad", "au"))
    assert len(usual) > 1 and alike.keys() == usual.keys()
    for name, (score, f1) in alike.items():
        assert score.value is None and "have the same cosines" in score.note
        assert f1 == usual[name][1] and usual[name][0].value is not None

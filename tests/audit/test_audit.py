"""The audit of AAAD: corruptions, rank agreement, and the command from end to end."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from aubench.audit.agreement import (
    concordance,
    spearman,
    spearman_resampled,
    spearman_rows,
    subject_weights,
)
from aubench.audit.corrupt import (
    ADDED,
    KINDS,
    corrupt,
    corruptions,
    intensity_error,
    label_error,
)

LEVELS = st.integers(1, 9)
SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def faces(draw):
    """An intensity vector with an active and an inactive AU."""
    active = draw(st.lists(st.booleans(), min_size=12, max_size=12))
    active[0], active[11] = True, False
    order = draw(st.permutations(range(12)))
    tenths = draw(st.lists(st.integers(1, 50), min_size=12, max_size=12))
    values = [t / 10 if active[i] else 0 for i, t in zip(order, tenths, strict=True)]
    return np.array(values, np.float32)


@given(faces(), st.sampled_from(KINDS), LEVELS, SEEDS)
def test_level_0_is_faithful_and_the_true_error_only_grows(face, kind, levels, seed):
    shown = corrupt(face, kind, levels, seed)
    assert shown.shape == (levels + 1, 12) and shown.dtype == np.float32
    assert np.array_equal(shown[0], face)
    for error in (intensity_error(shown, face), label_error(shown, face)):
        assert error[0] == 0 and (np.diff(error) >= 0).all() and error[-1] > 0
    assert shown.min() >= 0 and shown.max() <= 5
    assert np.allclose(np.rint(shown * 10), shown * 10, atol=1e-5)  # a key holds one decimal


@given(faces(), st.sampled_from(KINDS), LEVELS, SEEDS)
def test_levels_are_nested(face, kind, levels, seed):
    shown = corrupt(face, kind, levels, seed)
    for before, after in pairwise(shown):
        touched = before != face
        if kind == "weaken":
            assert (after <= before).all()
        else:
            assert np.array_equal(before[touched], after[touched])


@given(faces(), LEVELS, SEEDS)
def test_each_kind_leaves_alone_what_is_not_its_own(face, levels, seed):
    active = face > 0
    drop, add, weaken, swap = (corrupt(face, kind, levels, seed) for kind in KINDS)
    assert (drop[:, ~active] == 0).all() and (weaken[:, ~active] == 0).all()
    assert np.isin(drop[:, active], [0, *face]).all()
    assert np.array_equal(add[:, active], np.repeat(face[active][None], levels + 1, 0))
    new = add[-1][~active]
    assert (new > 0).sum() == min(ADDED, (~active).sum()) and ((new == 0) | (new >= 2)).all()
    for row in swap:
        assert np.array_equal(np.sort(row), np.sort(face))
    assert (drop[-1] == 0).all() and (weaken[-1] == 0).all()
    left = max(0, active.sum() - (~active).sum())
    assert (swap[-1][active] > 0).sum() == left


@given(faces(), st.sampled_from(KINDS), SEEDS)
def test_a_corruption_follows_from_its_seed(face, kind, seed):
    assert np.array_equal(corrupt(face, kind, 6, seed), corrupt(face, kind, 6, seed))
    # More levels are steps in between on the same way.
    assert np.array_equal(corrupt(face, kind, 12, seed)[::2], corrupt(face, kind, 6, seed))


def test_weaken_scales_every_active_au_alike():
    face = np.array([5, 2, 0, 3.3, *[0] * 8], np.float32)
    shown = corrupt(face, "weaken", 4, 0)
    assert np.allclose(shown[2], [2.5, 1, 0, 1.7, *[0] * 8]) and np.allclose(shown[4], 0)


def test_faces_draw_by_their_id_alone():
    rng = np.random.default_rng(1)
    values = np.where(rng.random((40, 12)) < 0.4, 3.0, 0).astype(np.float32)
    values[:, 0], values[:, 1] = 2.0, 0.0
    names = [f"x-{i}" for i in range(40)]
    whole = corruptions(values, names, "drop", 3, 7)
    assert np.array_equal(corruptions(values[9:11], names[9:11], "drop", 3, 7), whole[:, 9:11])
    assert not np.array_equal(corruptions(values, names, "drop", 3, 8), whole)


@pytest.mark.parametrize(
    ("face", "kind", "levels"),
    [
        (np.zeros(12, np.float32), "drop", 3),
        (np.full(12, 2, np.float32), "add", 3),
        (np.eye(12, dtype=np.float32)[0], "bend", 3),
        (np.eye(12, dtype=np.float32)[0], "drop", 0),
    ],
)
def test_what_cannot_be_corrupted_is_refused(face, kind, levels):
    with pytest.raises(ValueError, match=r"unknown corruption|want a level"):
        corrupt(face, kind, levels, 0)


def test_errors_by_hand():
    asked = np.array([5, 0, 2.5, *[0] * 9])
    shown = np.array([0, 1, 2.0, *[0] * 9])
    assert intensity_error(shown, asked) == pytest.approx(6.5 / 60)
    assert label_error(shown, asked) == 2


ROUGH = hnp.arrays(
    float, st.shared(st.integers(3, 30), key="n"), elements=st.integers(0, 6).map(float)
)


@given(ROUGH, ROUGH)
def test_spearman_equals_scipys(x, y):
    ours = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@given(ROUGH, ROUGH, SEEDS)
@settings(max_examples=50)
def test_resampled_spearman_equals_that_of_the_resample(x, y, seed):
    weights = subject_weights(np.arange(len(x)) // 2, 4, seed)
    found = spearman_resampled(x, y, weights)
    for value, row in zip(found, weights.astype(int), strict=True):
        a, b = np.repeat(x, row), np.repeat(y, row)
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-9)


def test_spearman_of_rows_and_whole_subjects():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (7, 9)), rng.random((7, 9))
    for value, a, b in zip(spearman_rows(x, y), x, y, strict=True):
        assert value == pytest.approx(stats.spearmanr(a, b).statistic)
    weights = subject_weights(["a", "b", "a", "c"], 50)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all() and len(np.unique(weights, axis=0)) > 5


def test_concordance_by_hand():
    assert concordance(np.array([3.0, 2, 1]), np.array([0.0, 1, 2])) == 1
    assert concordance(np.array([1.0, 2, 3]), np.array([0.0, 1, 2])) == 0
    assert concordance(np.array([1.0, 1]), np.array([0.0, 1])) == 0.5
    assert np.isnan(concordance(np.array([1.0, 2]), np.array([1.0, 1])))


@pytest.fixture(scope="module")
def seen_by_truth():
    """Every condition of 60 faces, seen by a detector and read by a classifier without error."""
    from aubench.audit.observe import AuditPlan, Observed, choose, corrupted
    from aubench.protocols.protocol import load_protocol

    protocol, plan = load_protocol("test2k"), AuditPlan(samples=60, levels=6)
    samples = choose(protocol.samples(), 60, 0)
    shown = corrupted(samples, plan)
    truth = (shown > 0).astype(np.float32)
    half = np.full(12, 0.5, np.float32)
    return Observed(
        plan,
        samples,
        shown,
        np.repeat(shown[:1], len(shown), 0),
        {"nano-a": truth, "nano-b": truth},
        np.repeat(truth[:1], len(shown), 0),
        {"nano-a": half, "nano-b": half},
        {"nano-a": "nano-a@0", "nano-b": "nano-b@0", "text": "text-nano@0"},
        protocol,
        "none",
    )


def test_choice_is_seeded_and_spread_over_the_au_counts():
    from aubench.audit.observe import choose
    from aubench.errors import AubenchError
    from aubench.protocols.protocol import load_protocol

    samples = load_protocol("test2k").samples()
    one, same, other = (choose(samples, 200, seed) for seed in (0, 0, 1))
    assert one.sha256 == same.sha256 != other.sha256
    whole = np.bincount(samples.labels().sum(1, dtype=int), minlength=13)[1:12]
    part = np.bincount(one.labels().sum(1, dtype=int), minlength=13)[1:12]
    assert np.abs(part - 200 * whole / whole.sum()).max() <= 1
    with pytest.raises(AubenchError, match=f"8 to {whole.sum()}"):
        choose(samples, 2000, 0)


def test_perfect_networks_follow_dropped_swapped_and_added_labels(seen_by_truth):
    from aubench.audit.aaad import judge
    from aubench.facs.f1 import f1_by_au as f1
    from aubench.metrics.statistics.means import mean_of

    found = judge(seen_by_truth)
    for metric in ("aaad", "cosine", "f1", "cosine-perfect", "f1-perfect"):
        for kind in ("drop", "add", "swap"):
            assert found.agreed(metric, kind, "labels", "levels")["spearman"] == pytest.approx(1)
    # Labels do not change before the last step, so nothing that reads labels sees the others.
    values = [row["value"] for row in found.level("cosine-perfect", "weaken")]
    assert len(set(values[:-1])) == 1 and values[-1] == 0
    # The metric is the project's own, not a second one of the same name.
    labels = seen_by_truth.samples.labels()
    row = next(r for r in found.level("f1", "add") if r["level"] == 3)
    i = seen_by_truth.plan.conditions.index(("add", 3))
    assert row["value"] == pytest.approx(mean_of(f1(seen_by_truth.shown[i] > 0, labels)), abs=1e-6)
    assert row["ci"][0] < row["value"] < row["ci"][1]
    assert row["recall nano-a"] == 1 and row["leak nano-a"] > 0
    assert found.provenance["texts_read_wrongly"] == 0


def test_aaad_and_cosine_rank_alike_and_scipy_agrees(seen_by_truth):
    from aubench.audit.aaad import judge, worst_misorder

    found = judge(seen_by_truth)
    for over in ("levels", "faces", "within"):
        a, c = (
            found.agreed(m, "pooled", "intensity", over)["spearman"] for m in ("aaad", "cosine")
        )
        assert a == pytest.approx(c)
    rows = [row for row in found.levels if row["metric"] == "aaad"]
    assert len(rows) == 25
    x, y = [row["value"] for row in rows], [-row["intensity_error"] for row in rows]
    pooled = found.agreed("aaad", "pooled", "intensity", "levels")
    assert pooled["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-5)
    assert pooled["ci"][0] <= pooled["spearman"] <= pooled["ci"][1]
    worst = worst_misorder(found, "aaad")
    assert worst["better"]["intensity_error"] < worst["worse"]["intensity_error"]
    assert worst["better"]["value"] < worst["worse"]["value"]
    wrong = [(i, j) for i in range(25) for j in range(25) if y[i] > y[j] and x[i] < x[j]]
    assert worst["pairs"] == len(wrong) > 0
    assert worst["largest_lead"] == pytest.approx(max(x[j] - x[i] for i, j in wrong), abs=1e-5)
    assert worst["gap"] == pytest.approx(max(y[i] - y[j] for i, j in wrong), abs=1e-5)


def test_closeness_by_hand_and_leaving_a_kind_out(seen_by_truth):
    from aubench.audit.aaad import judge, without

    found = judge(seen_by_truth)
    for row in found.levels:  # with perfect networks, one wrong AU costs a twelfth
        if row["metric"] == "closeness":
            assert row["value"] == pytest.approx(1 - row["label_error"] / 12, abs=1e-6)
    rows = [r for r in found.levels if r["metric"] == "f1" and r["kind"] != "add"]
    expected = stats.spearmanr([r["value"] for r in rows], [-r["intensity_error"] for r in rows])
    assert without(found, "f1")["add"] == pytest.approx(expected.statistic, abs=1e-5)


def test_a_detector_that_sees_nothing_agrees_with_nothing(seen_by_truth):
    from dataclasses import replace

    from aubench.audit.aaad import judge

    blind = np.repeat(seen_by_truth.seen["nano-a"][:1], 25, 0)
    found = judge(replace(seen_by_truth, seen={"nano-a": blind, "nano-b": blind}))
    assert found.agreed("aaad", "pooled", "intensity", "levels")["spearman"] is None
    assert all(r["told_from_level"] is None for r in found.limits if r["metric"] == "aaad")


def test_the_command_writes_what_it_prints(aubench, tmp_path):
    words = ("audit", "aaad", "--samples", 8, "--levels", 2, "--seed", 3, "--out", "x")
    first = aubench(*words, "--json", check=0)
    found = json.loads(first.stdout)
    assert found == json.loads((tmp_path / "x/audit.json").read_text())
    p = found["provenance"]
    assert p["samples"] == 8 and p["seed"] == 3 and len(p["protocol_sha256"]) == 64
    assert p["networks"]["nano-a"] in p["metrics"]["aaad"] and p["images"].startswith("synfacs")
    rows = list(csv.DictReader((tmp_path / "x/audit.csv").read_text().splitlines()))
    assert len(rows) == 9 * len(p["metrics"]) and all("|" in row["id"] for row in rows)
    truth = next(row for row in rows if row["metric"] == "aaad" and row["kind"] == "faithful")
    wrong = [r for r in rows if r["metric"] == "aaad" and (r["kind"], r["level"]) == ("swap", "2")]
    assert float(truth["value"]) > 0.6 > float(wrong[0]["value"]) + 0.1
    picture = (tmp_path / "x/audit.svg").read_bytes()
    assert picture.startswith(b"<?xml") and b"</svg>" in picture

    text = aubench(*words, "--ids", check=0).stdout  # again, from what is cached
    assert "pooled" in text and p["metrics"]["aaad"] in text and "audit.svg" in text
    assert (tmp_path / "x/audit.svg").read_bytes() == picture


def test_an_interrupted_audit_resumes(monkeypatch, tmp_path):
    from aubench.audit import observe as module
    from aubench.datasets.synfacs.rendered_images import SynfacsImages

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    plan, done, real = module.AuditPlan(samples=8, levels=2), [], module.features

    def dies(*words):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(words[-1])
        return real(*words)

    monkeypatch.setattr(module, "features", dies)
    with pytest.raises(KeyboardInterrupt):
        module.observe(plan)
    monkeypatch.setattr(module, "features", real)
    asked = []
    monkeypatch.setattr(SynfacsImages, "prefetch", lambda self, keys, *_: asked.append(list(keys)))
    found = module.observe(plan)
    # Faithful, drop 1, drop 2, add 1 were done, and weaken 2 is the same neutral faces as drop 2.
    assert len(asked[0]) == (len(plan.conditions) - 5) * 8
    module.observe(plan)
    assert asked[1] == []
    assert found.seen["nano-a"].shape == (9, 8, 12)
    assert np.abs(found.seen["nano-a"][0] - found.seen["nano-a"][-1]).max() > 0.5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--samples", "7"], "ask for 8 to 1859"),
        (["--samples", "5000"], "ask for 8 to 1859"),
        (["--levels", "1"], "--levels"),
        (["--detectors", "nano-c"], "unknown detector 'nano-c' (did you mean"),
        (["--out", "file"], "--out"),
    ],
)
def test_bad_options_end_with_one_line(aubench, tmp_path, words, expected):
    (tmp_path / "file").write_text("x")
    done = aubench("audit", "aaad", *words, check=2)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and expected in lines[0], done.stderr


def test_commands_are_corrupted_where_faces_are_not_made_to_order(seen_by_truth):
    """One detector that does not know AU6; a classifier that reads our texts without error."""
    from dataclasses import replace

    from aubench.audit.aaad import judge
    from aubench.audit.corrupt import LABEL_KINDS
    from aubench.audit.observe import corrupted, texts_of
    from aubench.audit.output import as_dict, print_audit
    from aubench.facs import AUS, combination_name, parse_aus
    from aubench.facs.describe import describe
    from aubench.facs.describe.text import wordings

    one, known = seen_by_truth, np.array([au != 6 for au in AUS])
    plan = replace(one.plan, kinds=LABEL_KINDS)
    asked = corrupted(one.samples, plan)
    assert set(np.unique(asked)) == {0, 5} and len(asked) == 3 * 6 + 1
    shown = np.repeat(asked[:1], len(asked), 0)
    seen = {"nano-a": np.where(known, shown > 0, 0).astype(np.float32)}
    told = replace(
        one,
        plan=plan,
        shown=shown,
        asked=asked,
        seen=seen,
        wanted=(asked > 0).astype(np.float32),
        masks={"nano-a": known},
    )
    found = judge(told)
    assert found.provenance["corrupted"] == "commands" and found.provenance["kinds"] == [
        *LABEL_KINDS
    ]
    for kind in LABEL_KINDS:
        assert found.agreed("cosine", kind, "labels", "levels")["spearman"] == pytest.approx(1)
        assert found.agreed("f1-perfect", kind, "labels", "levels")["spearman"] == pytest.approx(1)
    rows = [row for row in found.levels if row["metric"] == "closeness"]
    unseen = ((shown > 0) != (asked > 0))[..., known].sum(2).mean(1) / 11
    assert [row["value"] for row in rows] == pytest.approx(1 - unseen, abs=1e-6)
    for row in rows:  # a label says no more of an AU than that it is there
        assert row["intensity_error"] == pytest.approx(row["label_error"] / 12, abs=1e-6)
    whole = as_dict(found)
    assert not any("second" in name for name in whole["worst_misorder"])
    print_audit(found)
    (first, *_), last = texts_of(one.samples, asked[:1]), texts_of(one.samples, asked[6:7])[0]
    row, seed = asked[0][0] > 0, int(one.samples.frame["seed"].iloc[0])
    assert first[0] == describe(parse_aus(combination_name(row)), seed=seed).text
    assert set(last) <= set(wordings()[()])  # all AUs dropped

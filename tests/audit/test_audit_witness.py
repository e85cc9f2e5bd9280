"""The audit of readers: ramps, controls, transfer, and the numbers they come from."""

import csv
import json

import numpy as np
import pytest

from aubench.audit.witness.controls import attacked, blurred, decals, detail
from aubench.audit.witness.measure import _ramp
from aubench.audit.witness.pictures import LEVELS, Plan, Samples
from aubench.errors import AubenchError
from aubench.facs import AUS


def made_up(count=6, size=32):
    draw = np.random.default_rng(3)
    references = draw.integers(60, 180, (count, size, size, 3)).astype(np.uint8)
    labels = np.zeros((count, 12), np.uint8)
    labels[:, 0] = 1
    targets = references.copy()
    targets[:, 8:12, 8:12] = np.clip(targets[:, 8:12, 8:12].astype(int) + 40, 0, 255)
    return Samples(targets, references, labels, [f"S{i // 2:03d}" for i in range(count)])


def test_pasted_detail_is_the_targets_without_what_is_coarser():
    samples = made_up()
    base, sigma = samples.references.astype(float), 2
    wanted = np.clip(base + samples.targets - blurred(samples.targets, sigma), 0, 255)
    assert np.abs(detail(samples, sigma) - wanted).max() <= 0.51
    flat = Samples(np.full_like(samples.targets, 90), samples.references, samples.labels, [])
    np.testing.assert_array_equal(detail(flat, sigma), samples.references)  # it has none


def test_decals_are_other_peoples_and_change_nothing_else():
    samples = made_up()
    pasted = decals(samples).astype(int) - samples.references
    assert pasted[:, 8:12, 8:12].mean() > 25 and np.abs(pasted[:, 26:, 26:]).max() <= 1
    twice = decals(samples, strength=2).astype(int) - samples.references
    assert twice[:, 8:12, 8:12].mean() > 1.6 * pasted[:, 8:12, 8:12].mean()
    alone = Samples(samples.targets, samples.references, samples.labels, ["S000"] * 6)
    np.testing.assert_array_equal(decals(alone), samples.references)  # there is nobody else


def test_the_attack_is_small_and_is_believed_by_what_it_attacks():
    from aubench.networks.detectors import load_detector
    from aubench.synfacs.render import render

    faces = np.stack([render(f"S{330 + i}", np.zeros(12), i, size=128) for i in range(2)])
    labels = np.zeros((2, 12), np.uint8)
    labels[:, [0, 6]] = 1
    detectors = [load_detector(name) for name in ("nano-a", "nano-b")]
    made = attacked(Samples(faces, faces, labels, ["S330", "S331"]), detectors)
    assert np.abs(made.astype(int) - faces).max() <= 4
    for one in detectors:
        before, after = one.probabilities(faces), one.probabilities(made)
        gain = after[:, [0, 6]] - before[:, [0, 6]]
        assert gain.mean() > 0.5


def test_the_numbers_of_a_ramp_have_closed_forms():
    people, k = 3, AUS.index(12)
    p = np.full((people, 12, len(LEVELS), 12), 0.2, np.float32)
    p[:, k, :, k] = np.linspace(0.2, 0.9, 6)
    row = _ramp(p, k, 0.5)
    assert row["rho"]["value"] == pytest.approx(1) and row["auc"]["value"] == 1
    assert row["seen from"] == "C" and row["curve"][0] == pytest.approx(0.2)
    p[:, k, :, k] = 0.2  # blind
    row = _ramp(p, k, 0.5)
    assert row["rho"]["value"] == 0 and row["auc"]["value"] == 0.5 and row["seen from"] is None


def test_too_few_people_are_refused():
    with pytest.raises(AubenchError, match="--people 1"):
        Plan(people=1).check()
    with pytest.raises(AubenchError, match="--samples 2"):
        Plan(samples=2).check()


@pytest.mark.slow
def test_the_audit_writes_tables_and_a_figure(mp_face, aubench, tmp_path, small_runs):
    words = ("audit", "witness", "--people", 2, "--samples", 8, "--out", "found")
    done = aubench(*words, "--run", small_runs["oracle"], "--json", check=0)
    found = json.loads((tmp_path / "found" / "witness.json").read_text())
    assert found.items() <= json.loads(done.stdout).items()
    assert found["unknown AUs"]["mp-zero"] == [6, 14, 23] and "AU6" not in found["ramps"]["mp-zero"]
    for reader in ("mp-zero", "nano-a", "nano-b"):
        controls = {name: rows[reader]["gain"]["value"] for name, rows in found["controls"].items()}
        assert controls["target"] == 1 and controls["copy of the reference"] == 0
        curve = found["ramps"][reader]["AU12"]["curve"]
        assert curve[0] < 0.2 and curve[-1] > 0.9
    # Detectors saturate above level B; geometry goes on.
    assert found["ramps"]["mp-zero"]["AU12"]["rho"]["value"] > 0.8
    attack = found["controls"]["attack on nano-a and nano-b, ±4/255"]
    # Nobody sees it, and who reads geometry hardly reads it.
    assert attack["nano-a"]["gain"]["value"] > 0.5 > 0.3 > attack["mp-zero"]["gain"]["value"]
    with (tmp_path / "found" / "witness.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["part"] for row in rows} == {"ramp", "control", "transfer"}
    assert (tmp_path / "found" / "witness.svg").read_text().startswith("<?xml")

"""A detector that holds faces against references, and the witness beside the two detectors."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from aubench.facs import AUS
from aubench.metrics.action_units.aaad import AAAD, aaad, constants, cosines
from aubench.metrics.action_units.au_scores import AuScores, auc
from aubench.metrics.action_units.leakage import Control
from aubench.metrics.evaluation_data import EvaluationData
from aubench.networks.network_choice import NetworkChoice, chosen
from aubench.records.record import read_record
from aubench.submission.bundle import write_sums

N = 40
MISSING = "weights 'mp-face' are missing; `aubench weights fetch mp-face`"


def made_up(known=(), lost=(), unreadable=()):
    """Two detectors and a witness, which lacks AUs and does not find some faces."""
    draw = np.random.default_rng(4)
    labels = (draw.random((N, 12)) < 0.4).astype(np.uint8)
    labels[:, 0] = 1 - labels[:, 1]

    def seen():
        noise = draw.random((N, 12)).astype(np.float32)
        return np.clip(0.5 * labels + 0.5 * noise, 0, 1).astype(np.float32)

    arrays = [{name: {"probabilities": seen()} for name in ("a", "b", "w")} for _ in range(2)]
    mask = np.isin(AUS, known or AUS)
    for side, gone in zip(arrays, ((*lost, *unreadable), unreadable), strict=True):
        found = np.ones(N, np.float32)
        found[list(gone)] = 0
        p = side["w"]["probabilities"] * mask * found[:, None]
        side["w"] = {"probabilities": p, "found": found}
    return EvaluationData(
        generated=arrays[0],
        targets=arrays[1],
        generated_rows=np.arange(N),
        labels=labels,
        target_au_probabilities=labels.astype(np.float32),
        subjects=[f"S{i % 10:03d}" for i in range(N)],
        thresholds={name: np.full(12, 0.5, np.float32) for name in "abw"},
        pairs={},
        reference_set="made-up-1.0/all",
        extractor="",
        network_ids={name: f"{name}.1 0" for name in "abw"},
        target_source="labels",
        strata=["all"] * N,
        primary_detector="a",
        independent_detector="b",
        witness="w",
        known_aus={} if mask.all() else {"w": mask},
    )


def rows_of(metric, data):
    return {row.metric: row for row in metric.score(data)}


def test_a_witness_that_sees_all_scores_as_a_second_detector_does():
    data = made_up()
    twin = replace(data, independent_detector="w", witness="b")
    one, two = rows_of(AuScores(), data), rows_of(AuScores(), twin)
    assert (one["f1_witness"].value, one["f1_witness"].ci) == (two["au_f1"].value, two["au_f1"].ci)
    assert one["auc_witness"].value == two["au_auc"].value
    one, two = rows_of(AAAD(), data), rows_of(AAAD(), twin)
    assert one["aaad_witness"].value == two["aaad_second"].value
    assert one["aaad_witness"].id == two["aaad_second"].id


def test_unknown_aus_are_named_and_in_no_score():
    data, known = made_up(known=(1, 2, 12)), np.isin(AUS, (1, 2, 12))
    rows = rows_of(AuScores(), data)
    p, labels = data.probabilities("w")[:, known], data.labels[:, known]
    assert rows["auc_witness"].value == pytest.approx(auc(p, labels).mean())
    hit = ((p >= 0.5) & (labels == 1)).sum(0)
    f1 = 2 * hit / ((p >= 0.5).sum(0) + labels.sum(0))
    assert rows["f1_witness"].value == pytest.approx(f1.mean())
    assert "w does not know AU4, AU6, AU7, AU10, AU14, AU15, AU17, AU23, AU24" in (
        rows["f1_witness"].note
    )
    row = rows_of(AAAD(), data)["aaad_witness"]
    wanted, truth = labels.astype(np.float32), data.targets["w"]["probabilities"][:, known]
    asking = wanted.any(1)
    scale = constants(truth[asking], wanted[asking])
    assert row.value == pytest.approx(aaad(cosines(p[asking], wanted[asking]), scale))
    assert row.n == asking.sum() and "w does not know AU4" in row.note
    alone = replace(data, primary_detector="w", independent_detector="w", witness="")
    rows = rows_of(AuScores(), alone)
    assert rows["au_f1_6"].value is None and rows["au_f1_12"].value is not None
    quiet = labels == 0
    shares = ((p >= 0.5) & quiet).sum(1) / np.maximum(quiet.sum(1), 1)
    assert rows["off_target"].value == pytest.approx(shares.mean())
    assert rows_of(Control(), alone)["au_ap"].value is not None


def test_one_detector_is_enough_and_a_second_recommended():
    data = replace(made_up(), independent_detector="a", witness="")
    rows = rows_of(AAAD(), data)
    assert rows["aaad"].value is not None and rows["aaad_second"].value is None
    assert rows["aaad_second"].note.startswith("one detector; a second of another kind is recomm")
    assert set(AAAD().per_sample(data)) == {"aaad"}
    assert AuScores().subject_sums(data).keys() == {"au_f1", "off_target"}


def test_a_generated_image_without_a_face_is_a_failure_and_one_of_the_data_set_is_left_out():
    data = made_up(lost=(3, 4), unreadable=(7, 8, 9))
    rows = rows_of(AuScores(), data)
    note = rows["f1_witness"].note
    assert "3 samples left out: no face found in their reference or target" in note
    assert "no face found in 2 generated images, which count as failed" in note
    assert rows["f1_witness"].n == rows["auc_witness"].n == N - 3 and rows["au_f1"].n == N
    cosine = AAAD().per_sample(data)["aaad_witness"]
    assert np.isnan(cosine[[7, 8, 9]]).all() and np.isfinite(np.delete(cosine, [7, 8, 9])).all()
    assert cosine[3] == cosine[4] == np.nanmin(cosine)
    alone = replace(data, primary_detector="w", independent_detector="w", witness="")
    shares = AuScores().per_sample(alone)["off_target"]
    assert shares[3] == shares[4] == 1 and np.isnan(shares[7:10]).all()
    hidden = made_up(unreadable=(7, 8, 9))
    assert rows["f1_witness"].value < rows_of(AuScores(), hidden)["f1_witness"].value


def test_a_strangers_paired_detector_scores_and_witnesses(aubench, tmp_path):
    words = ("run", "--model", "oracle", "--protocol", "conflict", "--limit", 12)
    words = (*words, "--metrics", "aaad,au", "--out")
    aubench(*words, "sole", "--detectors", "stranger-pair", "--witness", "none", check=0)
    record = read_record(tmp_path / "sole" / "record.json")
    names = {row.metric for row in record.scores}
    assert not names & {"aaad_witness", "f1_witness"} and record.score("aaad_second").value is None
    assert "stranger-pair does not know AU4" in record.score("au_f1").note
    networks = record.provenance.networks
    assert networks["halves"].startswith("halves.1 ") and networks["stranger-pair"]
    assert record.score("aaad").value == pytest.approx(record.score("aaad_ceiling").value)

    aubench(*words, "beside", "--witness", "stranger-pair", check=0)
    both = read_record(tmp_path / "beside" / "record.json")
    assert both.score("aaad_witness").value == record.score("aaad").value
    assert both.score("aaad_second").value is not None
    assert "nano-b" in both.provenance.networks and "halves" in both.provenance.networks
    assert chosen(tmp_path / "beside") == NetworkChoice(witness="stranger-pair")
    done = aubench("compare", "beside", "beside", check=0)
    assert "aaad_witness" in done.stdout


def test_detectors_that_cannot_be_are_refused_in_a_line(aubench):
    words = ("run", "--model", "oracle", "--protocol", "conflict", "--limit", 6, "--detectors")
    done = aubench(*words, "nano-a,nano-b,stranger-pair", check=2)
    assert "are more than two" in done.stderr
    done = aubench(*words[:-1], "--witness", "stranger-pear", check=2)
    assert "did you mean 'stranger-pair'" in done.stderr
    done = aubench("detectors", "report", "stranger-pair", check=2)
    assert "reads a face against its reference" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def without_weights(aubench_home, tmp_path):
    """A cache that shares the faces but not the fetched weights."""
    home = tmp_path / "home"
    home.mkdir()
    (aubench_home / "synfacs").mkdir(exist_ok=True)
    (home / "synfacs").symlink_to((aubench_home / "synfacs").resolve())
    return str(home)


def test_without_weights_the_column_has_a_dash_and_the_command(aubench, tmp_path, without_weights):
    words = ("run", "--model", "oracle", "--protocol", "conflict", "--limit", 12)
    done = aubench(
        *words, "--metrics", "aaad,au", "--out", "run", check=0, AUBENCH_HOME=without_weights
    )
    record = read_record(tmp_path / "run" / "record.json")
    for name in ("aaad_witness", "f1_witness", "auc_witness"):
        assert record.score(name).value is None and record.score(name).note == MISSING
    assert "AAAD, witness" in done.stdout and "mp-face" not in record.provenance.networks
    done = aubench(
        *words, "--detectors", "mp-zero", "--out", "no", check=2, AUBENCH_HOME=without_weights
    )
    assert "aubench weights fetch mp-face" in done.stderr and not (tmp_path / "no").exists()
    aubench("submit", "run", "--out", "bundle", "--limited", check=0, AUBENCH_HOME=without_weights)
    assert "✗" not in aubench("verify", "bundle", "--images", 1, check=0).stdout


@pytest.fixture(scope="module")
def witnessed(mp_face, tmp_path_factory):
    """Runs of two controls with the witness, by name."""
    from aubench.run.execute import RunConfig, execute

    root = tmp_path_factory.mktemp("witnessed")
    for name in ("oracle", "copy-reference"):
        execute(RunConfig(name, "test2k", root / name, limit=16, metrics=("aaad", "au")))
    return {name: root / name for name in ("oracle", "copy-reference")}


def test_the_witness_stands_beside_the_detectors(witnessed):
    from aubench.comparison.runs import open_run

    oracle = read_record(witnessed["oracle"] / "record.json")
    copy = read_record(witnessed["copy-reference"] / "record.json")
    for name in ("aaad_witness", "f1_witness", "auc_witness"):
        assert oracle.score(name).value > copy.score(name).value
    assert copy.score("auc_witness").value == pytest.approx(0.5)
    assert "mp-zero does not know AU6, AU14, AU23" in oracle.score("f1_witness").note
    assert oracle.score("f1_witness").id.startswith("f1|mp-zero@")
    assert oracle.provenance.networks["mp-face"].endswith(" 64184e229b26")

    data = open_run(witnessed["copy-reference"]).evaluation_data(("aaad", "au"))
    own = data.reference_arrays.of_samples("mp-face")
    assert data.generated["mp-face"]["points"].shape == (16, 478, 3)
    np.testing.assert_array_equal(data.generated["mp-face"]["points"], own["points"])
    assert len(data.reference_arrays.arrays["mp-face"]["points"]) <= 16
    assert np.abs(data.targets["mp-face"]["points"] - own["points"]).max() > 1


def test_what_the_witness_saw_is_measured_once(witnessed, monkeypatch):
    from aubench.comparison.runs import open_run
    from aubench.networks.face_landmarker import FaceLandmarker

    def never(*_):
        raise AssertionError("looked again")

    monkeypatch.setattr(FaceLandmarker, "landmarks", never)
    data = open_run(witnessed["oracle"]).evaluation_data(("aaad", "au"))
    assert rows_of(AuScores(), data)["auc_witness"].value > 0.5


def test_a_bundle_tells_the_witness_with_and_without_its_weights(
    witnessed, aubench, tmp_path, without_weights
):
    shutil.copytree(witnessed["oracle"], tmp_path / "run")
    aubench("submit", "run", "--out", "bundle", "--limited", check=0)
    done = aubench("verify", "bundle", "--images", 1, check=0)
    assert "✗" not in done.stdout and "recomputed from the pixels agree" in done.stdout
    other = aubench("verify", "bundle", "--images", 1, check=1, AUBENCH_HOME=without_weights)
    assert "aaad_witness could not be recomputed: weights 'mp-face' are missing" in other.stdout
    record = (tmp_path / "bundle" / "record.json").read_text("utf-8")
    value = read_record(tmp_path / "bundle" / "record.json").score("f1_witness").value
    (tmp_path / "bundle" / "record.json").write_text(record.replace(str(value), "0.987654"))
    write_sums(tmp_path / "bundle")
    forged = aubench("verify", "bundle", "--images", 0)
    assert forged.returncode != 0 and "f1_witness is stated as 0.987654" in forged.stdout


def test_generated_images_without_a_face_fail_for_the_witness(witnessed, aubench, tmp_path):
    from PIL import Image

    from aubench.storage.run_folder import RunFolder

    folder = RunFolder.read_only(witnessed["oracle"])
    (tmp_path / "mine").mkdir()
    for i, name in enumerate(sorted(folder.digests)):
        image = folder.read(name) if i > 2 else np.zeros((128, 128, 3), np.uint8)
        image = np.repeat(image[..., :1], 3, 2) if i == 3 else image
        Image.fromarray(image).save(tmp_path / "mine" / f"{name}.png")
    words = ("run", "--model", "images", "--images", "mine", "--protocol", "test2k")
    aubench(*words, "--limit", 16, "--metrics", "au,aaad", "--out", "run", check=0)
    record = read_record(tmp_path / "run" / "record.json")
    row = record.score("f1_witness")
    assert re.search(r"of the generated faces .*\b1 greyscale", row.note)
    assert "no face found in 3 generated images, which count as failed" in row.note
    assert row.value < read_record(witnessed["oracle"] / "record.json").score("f1_witness").value

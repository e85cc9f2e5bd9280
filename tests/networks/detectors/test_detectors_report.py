"""The report of a detector: agreement with scikit-learn, unknown AUs, thresholds."""

import json

import numpy as np
import pytest
from detector_parts import labels_like, write_lists
from PIL import Image
from sklearn import metrics
from sklearn.calibration import calibration_curve

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors import calibration
from aubench.networks.detectors.calibration import best_thresholds, measure
from aubench.networks.detectors.faces import from_files


def test_report_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels = labels_like(500, unknown=0.2)
    p = np.clip(0.3 * (labels == 1) + 0.8 * rng.random((500, 12)), 0, 1).astype(np.float32)
    thresholds = best_thresholds(p, labels)
    report = measure(p, labels, thresholds, np.array(["a", "b"] * 250))
    assert (report["images"], report["subjects"]) == (500, 2)
    for k, au in enumerate(AUS):
        row, known = report["AUs"][f"AU{au}"], labels[:, k] >= 0
        y, q = labels[known, k], p[known, k].astype(np.float64)
        assert (row["known"], row["active"]) == (known.sum(), y.sum())
        pairs = q[y == 1][:, None] - q[y == 0][None]
        area = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert row["AUC"] == pytest.approx(area, abs=1e-6)
        assert row["F1"] == pytest.approx(metrics.f1_score(y, q >= thresholds[k]), abs=1e-6)
        assert row["F1 at 0.5"] == pytest.approx(metrics.f1_score(y, q >= 0.5), abs=1e-6)
        assert row["Brier"] == pytest.approx(metrics.brier_score_loss(y, q), abs=1e-6)
        order = np.argsort(-q, kind="stable")
        precision = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
        assert row["average precision"] == pytest.approx(precision[y[order] == 1].mean(), abs=1e-4)
        rate, mean = calibration_curve(y, q, n_bins=10)
        assert [b["rate"] for b in row["reliability"]] == pytest.approx(rate, abs=1e-5)
        assert [b["mean probability"] for b in row["reliability"]] == pytest.approx(mean, abs=1e-5)
        counts = np.array([b["count"] for b in row["reliability"]])
        assert counts.sum() == len(y)
        expected = (counts * np.abs(rate - mean)).sum() / len(y)
        assert row["calibration error"] == pytest.approx(expected, abs=1e-5)
    f1 = [row["F1"] for row in report["AUs"].values()]
    assert report["mean"]["F1"] == pytest.approx(np.mean(f1), abs=1e-5)


def test_report_of_aus_that_are_unknown_or_of_one_class(tmp_path):
    labels, p = labels_like(40), np.random.default_rng(0).random((40, 12)).astype(np.float32)
    labels[:, 0], labels[:, 1], p[:, 2], labels[:, 3] = -1, 0, np.nan, 1
    part = measure(p, labels, np.full(12, 0.5, np.float32), np.array(["a"] * 40))
    for name in ("AU1", "AU4"):
        row = part["AUs"][name]
        assert row["known"] == 0 and row["F1"] is None and row["Brier"] is None
    assert (
        part["AUs"]["AU2"]["AUC"] is None and part["AUs"]["AU2"]["F1"] == 0
    )  # all finds are false alarms
    assert part["AUs"]["AU2"]["Brier"] is not None
    always = part["AUs"]["AU6"]  # whatever is found, precision is 1
    assert always["average precision"] is None and always["AUC"] is None
    paths = calibration.write_report(tmp_path, {"test": part}, {"detector": "x@1"})
    assert calibration.read_report(paths[0])["test"] == part
    text = calibration.table(part).splitlines()
    assert len(text) == 14 and "–" in text[1]
    drawn = paths[1].read_text()
    assert drawn.startswith("<?xml") and "AU24, error" in drawn
    calibration.plot(paths[1], {"test": part}, "x@1")
    assert paths[1].read_text() == drawn
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AubenchError, match="not a report"):
        calibration.read_report(paths[0])


def test_thresholds_maximise_f1():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 12)) < 0.3).astype(np.int8)
    p = np.clip(labels * 0.3 + rng.random((300, 12)) * 0.5, 0, 1).astype(np.float32)
    chosen = f1_by_au(p >= best_thresholds(p, labels), labels)
    for t in (0.1, 0.3, 0.5, 0.7):
        assert (chosen >= f1_by_au(p >= t, labels) - 1e-9).all()


def test_a_shipped_detector_is_assessed_on_lists(tmp_path):
    from aubench.networks.detectors import load_detector
    from aubench.networks.detectors.assess import assess, predict

    folder = write_lists(tmp_path / "data", train=4, test=5)
    odd = np.zeros((30, 20, 3), np.uint8)
    Image.fromarray(odd).save(folder / "img" / "M001" / "T1" / "8.jpg")
    detector = load_detector("nano-b")
    path, drawn = assess(detector, tmp_path / "out", data=str(folder), fold=1, limit=None)
    report = json.loads(path.read_text())
    assert report["detector"] == detector.id and report["parts"]["test"]["images"] == 5
    assert report["parts"]["test"]["AUs"]["AU7"]["known"] == 4 and drawn.is_file()
    some = from_files(folder / "img", ["M001/T1/8.jpg"], np.zeros((1, 12), np.int8), ["M001"])
    np.testing.assert_array_equal(predict(detector, some), detector.probabilities(odd[None]))
    with pytest.raises(AubenchError, match="needs a fold"):
        assess(detector, tmp_path / "out", data=str(folder), fold=None, limit=None)

"""What makes shipped files anew: constants of protocols, the scale of intensities, AU regions."""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from aubench._maintain import intensity_scale as calibration
from aubench.facs import AUS
from aubench.metrics.action_units.aaad import cosines, shuffled
from aubench.metrics.faces.change import regions as shipped_regions
from aubench.networks.detectors import intensity, load_detector
from aubench.protocols import reference_statistics as statistics
from aubench.protocols import synfacs_draws as freeze
from aubench.protocols.protocol import load_protocol
from aubench.storage.files import sha256_bytes


@pytest.fixture
def small(monkeypatch):
    """``test2k`` of eight samples in place of all protocols."""
    definition, draw = freeze.PLANS["test2k"]
    definition = definition.model_copy(update={"samples": 8})
    monkeypatch.setattr(freeze, "PLANS", {"test2k": (definition, draw)})


def test_constants_are_the_extremes_of_cosines_over_the_targets(small, tmp_path, capsys):
    from aubench.datasets import image_source
    from aubench.networks.textau import load_text_au

    freeze.main([str(tmp_path)])
    place = tmp_path / "synfacs" / "test2k"
    before = load_protocol("test2k", folder=tmp_path)
    assert before.constants() == {}
    statistics.main([str(tmp_path), "synfacs"])
    assert capsys.readouterr().err.splitlines().count(str(place)) == 2
    protocol = load_protocol("test2k", folder=tmp_path)  # the digests fit
    assert protocol.sha256 == before.sha256  # no other version of the protocol
    samples = protocol.samples()
    images = image_source("synfacs").load_many(list(samples.frame["target"]), 128)
    reader = load_text_au("nano-dictionary")  # version 1 keeps what its records were read by
    wanted = {
        "labels": samples.labels().astype(np.float32),
        f"text-{reader.id}": reader.probabilities(list(samples.frame["text"])),
    }
    table = protocol.constants()
    assert len(table) == 4
    for name in ("nano-a", "nano-b"):
        detector = load_detector(name)
        found = detector.probabilities(images)
        for source, target in wanted.items():
            asked = np.flatnonzero(target.any(axis=1))
            other = target[asked][shuffled(len(asked), 2020)]
            low, high = table[f"{detector.id}|{source}"]
            assert high == pytest.approx(cosines(found, target)[asked].max(), abs=1e-6)
            assert low == pytest.approx(cosines(found[asked], other).min(), abs=1e-6)
    sums = (place / "SHA256SUMS").read_bytes()
    statistics.main([str(tmp_path), "synfacs"])  # again: nothing is there twice
    assert (place / "SHA256SUMS").read_bytes() == sums and sums.count(b"aaad.json") == 1


def test_a_design_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the design has 4416 samples, not 4000"):
        freeze.draw_intensity(np.random.default_rng(205), 4000)


def test_calibration_fits_on_validation_and_judges_on_test(monkeypatch, tmp_path):
    """Of a detector whose logit is a known line of the intensity, the scale is its inverse.

    The faces that it sees are the intensities of their keys; on test subjects it is off by one.
    """
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.synfacs.keys import SPLITS, parse_key

    def faces(self, keys, size, label):
        read = [parse_key(key) for key in keys]
        off = [subject[1:] in map(str, SPLITS["test"]) for subject, _, _ in read]
        return np.stack([row for _, row, _ in read]) - np.array(off)[:, None].astype(np.float32)

    class Detector:
        name, sha256 = "line", sha256_bytes(b"line")
        card: ClassVar = {"data": {"source": "synfacs"}}

        def probabilities(self, images):
            return 1 / (1 + np.exp(-(2 * np.asarray(images, np.float64) - 5)))

    monkeypatch.setattr(SynfacsImages, "packed", faces)
    monkeypatch.setattr("aubench.networks.detectors.load_detector", lambda name: Detector())
    monkeypatch.setattr(calibration, "FACES", {"validation": (400, 301), "test": (300, 302)})
    path = calibration.calibrate("line", tmp_path)
    assert path == tmp_path / "line.intensity.json"
    scale = intensity.load_scale(Detector(), tmp_path)
    levels = np.arange(0.5, 5, 0.5)[:, None] * np.ones(len(AUS))
    np.testing.assert_allclose(scale(Detector().probabilities(levels)), levels, atol=0.25)
    card = scale.card
    assert card["command"] == "python -m aubench._maintain.intensity_scale line"
    assert card["faces"]["test"] == {"count": 300, "seed": 302}
    assert card["test"]["mean"]["MAE where active"] == pytest.approx(1, abs=0.15)
    assert card["test"]["mean"]["MAE"] < 0.35  # absent AUs are read as 0
    other = SimpleNamespace(name="line", sha256=sha256_bytes(b"trained anew"))
    assert intensity.load_scale(other, tmp_path) is None


def test_regions_read_off_other_subjects_are_the_shipped_ones(monkeypatch, tmp_path):
    from aubench._maintain import change_regions as regions

    monkeypatch.setattr(regions, "SPLITS", {"train": range(3, 24)})  # every seventh: three
    path = tmp_path / "regions.json"
    regions.main(path)
    table = json.loads(path.read_text())
    assert (table["grid"], table["subjects"]) == (regions.GRID, 3)
    rows = [[list(map(int, line)) for line in table["regions"][f"AU{au}"]] for au in AUS]
    found, kept = np.array(rows, bool), shipped_regions()
    assert found.shape == kept.shape
    overlap = (found & kept).sum((1, 2)) / (found | kept).sum((1, 2))
    assert overlap.min() > 0.65 and overlap.mean() > 0.8, dict(zip(AUS, overlap, strict=True))

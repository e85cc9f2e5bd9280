"""The audit of the beds: what it measures, how it goes on, what it says of a missing network."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aubench.audit.synfacs import audit, beds
from aubench.audit.synfacs import detector_measures as by_detector
from aubench.audit.synfacs import witness_measures as by_witness
from aubench.audit.synfacs.audit import Extent, audit_synfacs, table
from aubench.audit.synfacs.detector_measures import pasted
from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.face_landmarker.landmarker import FaceLandmarker

FEW = ("anatomy", "cost")


@pytest.fixture
def few(monkeypatch):
    """Only the measures that need no network."""
    monkeypatch.setattr(audit, "MEASURES", {name: audit.MEASURES[name] for name in FEW})


def test_rows_say_what_was_found_and_wanted(few, tmp_path):
    rows = audit_synfacs("synfacs2", Extent(), tmp_path)
    assert rows[0].met is True
    assert rows[0].value == "28 of 28"
    assert rows[1].details["milliseconds"] > 1
    text = (tmp_path / "audit.md").read_text(encoding="utf-8")
    assert text == table(rows)
    assert text.count("\n") == 2 + len(rows)


def test_what_was_measured_is_not_measured_again(few, tmp_path, monkeypatch):
    first = audit_synfacs("synfacs2", Extent(), tmp_path)

    def never(bed, extent):
        raise AssertionError

    monkeypatch.setattr(audit, "MEASURES", dict.fromkeys(FEW, never))
    assert audit_synfacs("synfacs2", Extent(), tmp_path) == first


def test_a_missing_network_is_a_row_with_its_reason(tmp_path, monkeypatch):
    def missing(bed, extent):
        raise AubenchError("weights 'mp-face' are missing", "fetch them")

    monkeypatch.setattr(audit, "MEASURES", {"clay": missing, "anatomy": audit.MEASURES["anatomy"]})
    rows = audit_synfacs("synfacs2", Extent(), tmp_path)
    assert "mp-face" in rows[0].value
    assert rows[0].met is None
    assert rows[1].met is True
    assert not (tmp_path / "measures" / "clay.json").exists()  # it is asked again


def test_json_has_every_row(few, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["audit", "synfacs", "synfacs2", "--out", str(tmp_path), "--json"])
    assert not ended.value.code
    document = json.loads(capsys.readouterr().out)
    assert document["bed"] == "synfacs2"
    assert [row["measure"] for row in document["rows"]]


def test_an_unknown_bed_is_named(tmp_path):
    with pytest.raises(AubenchError, match="unknown bed 'synfacs3'"):
        audit_synfacs("synfacs3", Extent(), tmp_path)


def test_layers_of_a_face_are_rendered_as_asked():
    bed = beds.BEDS["synfacs2"]
    face = beds.Face(2000, beds.active((12,), 5.0), 3, size=32)
    still = beds.Face(2000, beds.active((), 0.0), 3, size=32)
    whole, geometry, rest = beds.render_all(
        bed, [face, beds.Face(2000, face.values, 3, layers="geometry", size=32), still], "test", 1
    )
    assert np.abs(geometry.astype(int) - rest).sum() > 0.5 * np.abs(whole.astype(int) - rest).sum()


def test_pasting_without_an_au_changes_nothing():
    bed = beds.BEDS["synfacs2"]
    faces = [beds.Face(2000, beds.active((), 0.0), 3)]
    image = beds.render_all(bed, faces, "test", 1)
    drawn = audit.by_detector.Drawn(image, image, np.zeros((1, len(AUS)), np.float32))
    assert np.array_equal(pasted(bed, drawn, donors=2), image)


@pytest.mark.usefixtures("mp_face")
def test_paste_is_measured_by_the_witness_against_the_targets():
    """The same targets pasted by nobody are the whole; references are nothing of it."""
    bed = beds.BEDS["synfacs2"]
    drawn = by_detector.occurring(bed, 12, "studio", 1)
    whole = by_detector.witness_f1(drawn, drawn.targets)
    assert whole > 0.3
    assert by_detector.witness_f1(drawn, drawn.references) < 0.5 * whole


def test_an_attack_reaches_whom_it_is_made_for():
    bed = replace(beds.BEDS["synfacs2"], detectors=("nano2-b",))
    found = by_detector.attack_transfer(bed, by_detector.occurring(bed, 8, "studio", 1))
    row = found["nano2-b"]
    assert row["attack on nano2-b"] > row["references"] + 0.3


@pytest.mark.usefixtures("mp_face")
def test_the_witness_reads_clay_and_ramps():
    """Chance is .5 and no order 0: on whole faces of few people it is far from both."""
    bed, landmarker = beds.BEDS["synfacs2"], FaceLandmarker.load()
    found = by_witness.reader_auc(bed, landmarker, "clay", 10, 4, 1)
    assert set(found["AUs"]) == {f"AU{au}" for au in AUS}
    assert found["mean"] > 0.6 and found["interval"][0] <= found["mean"] <= found["interval"][1]
    order = by_witness.monotone(bed, landmarker, [910_101], "studio")
    assert np.mean(list(order.values())) > 0.6

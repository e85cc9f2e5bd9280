"""Faces of restricted data sets: out of bundles, figures and leaderboards unless asked for."""

import json
import shutil

import pytest
from click.testing import CliRunner

from aubench.cli.results.figure import figure
from aubench.cli.results.submit import submit
from aubench.errors import AubenchError
from aubench.records.record import read_record
from aubench.report.leaderboards.leaderboard import add_record
from aubench.submission.privacy import check_faces


def test_synfacs_is_free_and_the_unknown_is_not():
    check_faces("synfacs", False, "a bundle")
    check_faces("bp4d", True, "a bundle")
    for name in ("bp4d", "bp4dplus", "disfa", "somebody's"):
        with pytest.raises(AubenchError, match=rf"'{name}' is restricted.*--include-restricted"):
            check_faces(name, False, "a bundle")


@pytest.fixture
def all_restricted(monkeypatch):
    monkeypatch.setattr("aubench.submission.privacy.restricted", lambda name: True)
    monkeypatch.setattr("aubench.report.leaderboards.leaderboard.restricted", lambda name: True)


def test_bundles_and_figures_of_faces_are_refused(all_restricted, small_runs, tmp_path):
    run, out = str(small_runs["oracle"]), tmp_path / "out.png"
    for command, words in (
        (submit, [run, "--limited", "--out", str(tmp_path / "bundle")]),
        (figure, ["grid", run, "-o", str(out)]),
        (figure, ["failures", run, "--count", "2", "-o", str(out)]),
    ):
        before = set(tmp_path.iterdir())
        done = CliRunner().invoke(command, words)
        assert isinstance(done.exception, AubenchError), done.output
        assert "--include-restricted" in str(done.exception)
        assert set(tmp_path.iterdir()) == before
        done = CliRunner().invoke(command, [*words, "--include-restricted"])
        assert done.exception is None, done.output
        out.unlink(missing_ok=True)


def test_a_record_enters_without_its_faces(all_restricted, small_runs, tmp_path):
    run = shutil.copytree(small_runs["oracle"], tmp_path / "run")
    data = json.loads((run / "record.json").read_text())
    data["counts"] |= {"limited": False, "asked": 1200, "unsupported": 1176}
    (run / "record.json").write_text(json.dumps(data))
    (run / "record.sha256").unlink()  # the run's own seal
    boards = tmp_path / "boards"
    target = add_record(run / "record.json", boards).path
    assert read_record(target).model.name == "oracle"
    assert not target.with_suffix(".webp").exists()
    add_record(run / "record.json", boards, faces=True)
    assert target.with_suffix(".webp").is_file()
    add_record(run / "record.json", boards)  # what was shown before goes again
    assert not target.with_suffix(".webp").exists()

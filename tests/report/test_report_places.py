"""Where records lie: an installed package is not written to, yet its tables show yours too."""

import shutil

import pytest

from aubench.cli.main import main
from aubench.comparison.pairs import Difference, enter
from aubench.report import places
from aubench.report.leaderboards.leaderboard import add_record, boards
from aubench.report.leaderboards.site import build
from aubench.report.tables.boards import read_boards
from aubench.storage.files import shipped

HOME = shipped("leaderboards")
BOARD = "synfacs", "test2k"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The leaderboards as a wheel carries them, and an empty home."""
    ours = tmp_path / "site-packages" / "_shipped" / "leaderboards"
    for name in ("oracle", "copy-reference"):
        target = ours.joinpath(*BOARD, f"{name}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HOME.joinpath(*BOARD, f"{name}.json"), target)
    monkeypatch.setattr(places, "shipped", lambda name: ours)
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    return ours


@pytest.fixture
def record(tmp_path):
    """A record of a model of one's own, in a run folder."""
    path = tmp_path / "run" / "record.json"
    path.parent.mkdir()
    text = HOME.joinpath(*BOARD, "nearest.json").read_text("utf-8")
    path.write_text(text.replace('"name": "nearest"', '"name": "mine"', 1))
    return path


def stand(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_installed_package_is_not_written_to(installed, record, tmp_path):
    before = stand(installed)
    target = add_record(record).path
    assert target == (tmp_path / "home" / "leaderboards").joinpath(*BOARD, "mine.json")
    assert stand(installed) == before
    names = [r.model.name for r in boards(*BOARD)["test2k"]]
    assert names == ["copy-reference", "mine", "oracle"]
    build(tmp_path / "site")
    assert (tmp_path / "site" / "records" / "synfacs-test2k-mine.html").is_file()
    assert (tmp_path / "site" / "records" / "synfacs-test2k-oracle.html").is_file()


def test_yours_takes_the_place_of_a_shipped_one_and_pairs_of_both_count(installed, record):
    text = record.read_text("utf-8").replace('"name": "mine"', '"name": "oracle"', 1)
    record.write_text(text)
    target = add_record(record).path
    found = read_boards("synfacs")
    images = {n: r.provenance.images_sha256 for n, r in found.of("test2k").items()}
    assert images["oracle"] in text
    for root, metric in ((installed, "fid"), (places.entry(), "kid")):
        one = Difference(
            first="oracle",
            second="copy-reference",
            first_images=images["oracle"],
            second_images=images["copy-reference"],
            metrics={metric: (0.1, -1.0, 1.0)},
        )
        enter(root.joinpath(*BOARD), [one])
    found = read_boards("synfacs")
    both = [found.of("test2k")[name] for name in ("oracle", "copy-reference")]
    assert [found.pairs["test2k"].tie(m, *both) for m in ("fid", "kid", "is")] == [
        True,
        True,
        None,
    ]
    target.unlink()
    assert boards(*BOARD)["test2k"][1].provenance.images_sha256 != images["oracle"]


def test_a_source_tree_and_a_folder_that_is_named_stand_alone(installed, tmp_path, monkeypatch):
    (places.entry() / "synfacs").mkdir(parents=True)
    assert places.roots() == [installed, places.entry()]
    tree = tmp_path / "aubench" / "leaderboards"
    monkeypatch.setattr(places, "shipped", lambda name: tree)
    assert places.roots() == [tree] and places.entry() == tree
    assert places.roots(tmp_path) == [tmp_path] == [places.entry(tmp_path)]


def test_what_was_entered_is_shown_and_nothing_else(record, tmp_path, capsys):
    folder = tmp_path / "boards"
    text = record.read_text("utf-8").replace('"dataset": "synfacs"', '"dataset": "bp4d"', 1)
    record.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["report", "--add", str(record), "--leaderboards", str(folder)])
    assert ended.value.code in (0, None)
    out = capsys.readouterr()
    assert out.out.startswith("test2k") and "mine" in out.out and out.err.startswith("entered ")
    with pytest.raises(SystemExit) as ended:
        main(["report", "--leaderboards", str(folder)])
    assert ended.value.code == 2
    assert "no records of data set 'synfacs' in" in capsys.readouterr().err

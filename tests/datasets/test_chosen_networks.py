"""Networks chosen for a data set: kept with it, taken by every command, given up when typed."""

import json

import pytest
import trees

from aubench.datasets.imported.files import folder_of
from aubench.networks.chosen_networks import ChosenNetworks, choose, read_chosen
from aubench.storage.files import data_home


@pytest.fixture
def own(aubench, tmp_path, monkeypatch, aubench_home):
    """An imported data set of two persons, in a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    (aubench_home / "synfacs").mkdir(exist_ok=True)
    (home / "synfacs").symlink_to((aubench_home / "synfacs").resolve())
    monkeypatch.setenv("AUBENCH_HOME", str(home))
    split = {"split": lambda shot: "train" if shot.subject == "F001" else "test"}
    table = trees.write_folder(tmp_path / "faces", trees.shots(["F001", "F002"], ["T1"]), **split)
    words = "--name own --align none --free --size 64 --workers 1"
    aubench("data", "import", "folder", table, *words.split(), check=0)
    return "own"


def test_chosen_networks_are_taken_by_every_command(aubench, own, tmp_path, monkeypatch):
    done = aubench("data", "set", own, check=0)
    assert "mp-zero (default)" in done.stdout and "a second of another kind" in done.stderr
    words = "--detectors nano-a --extractor efficientnet-lite0 --witness none"
    done = aubench("data", "set", own, *words.split(), check=0)
    assert "detectors  nano-a\n" in done.stdout and "nano (default)" in done.stdout
    aubench("protocol", "freeze", "test2k", "--data", own, "--samples", 6, "--size", 64, check=0)
    place = data_home() / "protocols" / own / "test2k"
    frozen = json.loads((place / "reference.json").read_text())
    assert set(frozen["networks"]) == {"nano-a", "efficientnet-lite0"}
    assert (place / "aaad.json").is_file()
    run = f"run --model copy-reference --data {own} --protocol test2k --metrics fid,aaad".split()
    aubench(*run, "--out", "first", check=0)
    aubench(*run, "--out", "second", "--detectors", "nano-b", check=0)
    records = [json.loads((tmp_path / n / "record.json").read_text()) for n in ("first", "second")]
    ids = [{row["metric"]: row["id"] for row in record["scores"]} for record in records]
    assert "nano-a@" in ids[0]["aaad"] and "nano-b@" in ids[1]["aaad"]
    assert all("efficientnet-lite0" in found["fid"] for found in ids)
    assert aubench("compare", "first", "first", check=0)  # what was taken is kept with the run
    aubench("data", "set", own, "--forget", check=0)
    assert read_chosen(own) == ChosenNetworks() and folder_of(own).is_dir()


def test_what_cannot_be_used_is_not_kept(aubench, own, tmp_path):
    for words, expected in (
        (("--detectors", "me-graphau=nowhere.pth"), "nowhere.pth"),
        (("--detectors", "nano-a,nano-b,mp-zero"), "more than two"),
        (("--extractor", "inceptoin"), "inceptoin"),
        (("--text-au", "nowhere"), "nowhere"),
    ):
        done = aubench("data", "set", own, *words, check=2)
        assert expected in done.stderr and len(done.stderr.splitlines()) == 1
    assert read_chosen(own) == ChosenNetworks()
    done = aubench("data", "set", "synfacs", "--detectors", "nano-a", check=2)
    assert "'synfacs' ships with its networks" in done.stderr
    assert "unknown data set 'onw'" in aubench("data", "set", "onw", check=2).stderr
    choose(own, ChosenNetworks(detectors="nano-a"))
    choose(own, ChosenNetworks(extractor="efficientnet-lite0"))
    assert read_chosen(own).detectors == "nano-a"
    (folder_of(own) / "networks.json").write_text('{"detector": "nano-a"}')
    done = aubench("data", "set", own, check=2)
    assert f"`aubench data set {own} --forget`" in done.stderr
    aubench("data", "set", own, "--forget", check=0)

"""Runs as a whole: what a plug-in gets wrong, what a kill leaves, what a record holds."""

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from aubench.records.record import read_record

LIMIT = 12
WORDS = ("run", "--model", "stranger", "--protocol", "unseen", "--limit", LIMIT, "--metrics")
CHEAP = (*WORDS, "kid", "--batch-size", 4)


def content(record):
    """Return what two runs have in common, also where the tree was committed in between."""
    found = record.content()
    found["provenance"].pop("revision")
    return found


@pytest.fixture(scope="module")
def undisturbed(stranger_site, tmp_path_factory):
    """The record of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _start(stranger_site, folder).wait(600)
    return read_record(folder / "run" / "record.json")


def _start(site, folder, **environment):
    with (folder / "told").open("w") as told:
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from aubench.cli.main import main; main()",
                *map(str, CHEAP),
                "--out",
                "run",
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(site), **environment},
        )


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("shape", "shape (64, 128, 3)"),
        ("dtype", "dtype int32"),
        ("count", "(3, 128, 128, 3) for 4 requests"),
        ("nan", "NaN or Inf for sample"),
        ("list", "returned list"),
        ("raise", "raised ValueError"),
        ("load", "failed to load: RuntimeError"),
    ],
)
def test_a_misbehaving_plugin_is_named_and_the_run_resumes(aubench, tmp_path, fault, expected):
    done = aubench(*CHEAP, "--out", "run", check=2, STRANGER_FAULT=fault)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: model 'stranger'") and expected in line
    assert not (tmp_path / "run" / "record.json").exists()
    aubench(*CHEAP, "--out", "run", check=0)
    assert read_record(tmp_path / "run" / "record.json").counts.generated == LIMIT


def test_a_run_that_was_refused_binds_no_later_one(aubench, tmp_path):
    aubench(*CHEAP, "--out", "run", "--option", "nothing=1", check=2)
    assert (tmp_path / "run" / "run.json").is_file()
    aubench(*CHEAP, "--out", "run", check=0)
    line = aubench(*CHEAP, "--out", "run", "--seed", 1, check=2).stderr.splitlines()[-1]
    assert "holds a run with seed = 0, now 1" in line  # images bind
    assert read_record(tmp_path / "run" / "record.json").counts.generated == LIMIT


def test_a_failed_sample_is_counted_and_scored(aubench, tmp_path):
    aubench(*WORDS, "kid,aaad,au", "--out", "run", check=0, STRANGER_FAULT="sample")
    record = read_record(tmp_path / "run" / "record.json")
    assert record.counts.failed >= 1
    assert record.counts.generated + record.counts.failed == record.counts.asked == LIMIT
    assert record.score("kid").n == record.counts.generated
    assert record.score("cosine").n == LIMIT
    whole = aubench(*WORDS, "aaad", "--out", "whole", check=0)
    assert whole.returncode == 0
    full = read_record(tmp_path / "whole" / "record.json")
    assert record.score("cosine").value < full.score("cosine").value


def test_randomness_is_found_out(aubench):
    done = aubench(*CHEAP, "--out", "run", "--check-determinism", check=2, STRANGER_FAULT="random")
    assert "not deterministic" in done.stderr
    aubench(*CHEAP, "--out", "other", "--check-determinism", check=0)


def test_damaged_images_are_made_again(aubench, tmp_path, undisturbed):
    aubench(*CHEAP, "--out", "run", check=0)
    images = sorted((tmp_path / "run" / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:200])
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(images[1])
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(images[2])
    images[3].write_text("not a picture")
    images[4].unlink()
    aubench(*CHEAP, "--out", "run", check=0)
    assert content(read_record(tmp_path / "run" / "record.json")) == content(undisturbed)


def test_another_runs_folder_is_refused(aubench, tmp_path):
    aubench(*CHEAP, "--out", "run", check=0)
    done = aubench(*CHEAP, "--out", "run", "--seed", 5, check=2)
    assert "seed" in done.stderr and "--fresh" in done.stderr
    aubench(*CHEAP, "--out", "run", "--seed", 5, "--fresh", check=0)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.txt").write_text("mine")
    aubench(*CHEAP, "--out", "holiday", "--fresh", check=2)
    assert (tmp_path / "holiday" / "photo.txt").read_text() == "mine"


def test_record_says_what_makes_numbers_comparable(undisturbed):
    row = undisturbed.score("kid")
    assert row.id.startswith("kid|efficientnet-lite0|clean|") and f"n={LIMIT}" in row.id
    assert undisturbed.counts.limited
    assert undisturbed.provenance.packages["torch"]
    assert len(undisturbed.protocol.sha256) == 64


@pytest.mark.slow
def test_ten_kills_at_random_points_change_nothing(stranger_site, tmp_path, undisturbed):
    rng = random.Random(7)
    kills = 0
    for _ in range(10):
        process = _start(stranger_site, tmp_path, STRANGER_SLEEP="0.15")
        try:
            process.wait(rng.uniform(1.0, 9.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 3
    final = _start(stranger_site, tmp_path)
    assert final.wait(600) == 0, (tmp_path / "told").read_text()
    assert content(read_record(tmp_path / "run" / "record.json")) == content(undisturbed)
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_ledger_survives_a_line_cut_short(tmp_path):
    from aubench.storage.run_folder import RunFolder

    folder = RunFolder.create(tmp_path / "run", {"a": 1})
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    folder.add(["one", "two"], images)
    with folder.ledger.open("a") as stream:
        stream.write('{"id": "three", "sha2')
    again = RunFolder.resume(tmp_path / "run", {"a": 1})
    assert again.intact("one") and again.intact("two") and not again.intact("three")
    again.add(["three"], images[:1])
    last = RunFolder.read_only(tmp_path / "run")
    assert last.intact("three") and set(last.digests) == {"one", "two", "three"}


def test_full_disk_is_one_line(tmp_path, monkeypatch):
    import errno

    from aubench.errors import AubenchError
    from aubench.storage import run_folder as module

    run = module.RunFolder.create(tmp_path / "run", {"a": 1})

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(AubenchError, match="no space left"):
        run.add(["one"], np.zeros((1, 8, 8, 3), np.uint8))
    assert not list((tmp_path / "run").rglob("*.png")) and not run.digests


def test_limited_runs_stay_off_the_leaderboards(aubench, tmp_path, undisturbed):
    path = tmp_path / "record.json"
    undisturbed.write(path)
    done = aubench("report", "--add", path, "--leaderboards", tmp_path / "boards", check=2)
    assert "--limit" in done.stderr
    data = json.loads(path.read_text())
    counts = data["counts"]
    from aubench.protocols.protocol import load_protocol

    whole = load_protocol(data["protocol"]["name"]).definition.samples
    counts |= {"limited": False, "asked": whole, "unsupported": whole - counts["asked"]}
    path.write_text(json.dumps(data))
    text = aubench("report", "--add", path, "--leaderboards", tmp_path / "boards", check=0).stdout
    assert "stranger" in text and "KID" in text


def test_a_run_folder_is_created_once_resumed_as_asked_and_read_as_it_is(tmp_path):
    from aubench.errors import AubenchError
    from aubench.storage.run_folder import FolderState, RunFolder

    path = tmp_path / "run"
    with pytest.raises(AubenchError, match="holds no run"):
        RunFolder.read_only(path)
    with pytest.raises(AubenchError, match="holds no run"):
        RunFolder.resume(path, {"a": 1})
    assert not path.exists()  # nobody but a writer makes anything
    folder = RunFolder.create(path, {"a": 1})
    assert folder.state() is FolderState.ASKED
    with pytest.raises(AubenchError, match="holds a run already"):
        RunFolder.create(path, {"a": 1})
    folder.fail("one", "no face")
    assert folder.state() is FolderState.BEGUN
    assert RunFolder.resume(path, {"a": 1}).failures == {"one": "no face"}
    with pytest.raises(AubenchError, match="a = 1, now 2"):
        RunFolder.resume(path, {"a": 2})
    with (
        pytest.raises(AubenchError, match="a = 1, now 2"),
        RunFolder.exclusive(path, {"a": 2}, fresh=False),
    ):
        pass
    with RunFolder.exclusive(path, {"a": 2}, fresh=True) as fresh:
        assert fresh.failures == {}
    with RunFolder.exclusive(path, {"a": 3}, fresh=False):
        pass  # what made nothing gives way
    assert RunFolder.read_only(path).state() is FolderState.ASKED

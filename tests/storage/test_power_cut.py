"""Power cuts: what a disk would hold, had the current gone after any of the steps of a write.

The steps are recorded as they happen. The disk is the strictest that POSIX allows: bytes are kept
from the file's last sync only, names from their folder's.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from aubench.storage import files, run_folder
from aubench.storage.files import atomic_path, write_bytes, write_text
from aubench.storage.run_folder import RunFolder


@dataclass
class Disk:
    """Snapshots, a step each, of what would be left: bytes by path."""

    root: Path
    bytes_of: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    left: list[dict[str, bytes | None]] = field(default_factory=list)

    def sync(self, handle):
        state = os.fstat(handle)
        place = Path(f"/proc/self/fd/{handle}").readlink()
        if not place.is_relative_to(self.root):
            return
        if place.is_dir():
            here = {str(p): p.stat().st_ino for p in place.iterdir()}
            gone = [name for name in self.names if str(Path(name).parent) == str(place)]
            for name in gone:
                del self.names[name]
            self.names |= here
        else:
            self.bytes_of[state.st_ino] = place.read_bytes()
        self.step()

    def step(self):
        """Note what is left now; a file whose bytes were never synced is empty or worse: None."""
        found = {}
        for name, inode in self.names.items():
            place = Path(name)
            known = all(str(p) in self.names for p in place.parents if p.is_relative_to(self.root))
            if known and not place.is_dir():
                found[str(place.relative_to(self.root))] = self.bytes_of.get(inode)
        self.left.append(found)

    def values(self, name):
        return [found.get(name, "absent") for found in self.left]


@pytest.fixture
def disk(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    root.mkdir()
    made = Disk(root)
    made.names[str(root)] = root.stat().st_ino
    real_sync, real_replace, real_rename = os.fsync, os.replace, os.rename

    def fsync(handle):
        real_sync(handle)
        made.sync(handle)

    def renamed(real):
        def call(source, target):
            real(source, target)
            made.step()

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed(real_replace))
    monkeypatch.setattr(os, "rename", renamed(real_rename))
    return made


def test_a_durable_file_is_old_or_new_at_every_moment_and_new_at_the_end(disk):
    path = disk.root / "a" / "b" / "kept.json"
    write_text(path, "old", durable=True)
    write_bytes(path, b"new", durable=True)
    seen = disk.values("a/b/kept.json")
    assert set(seen) <= {"absent", b"old", b"new"} and seen[-1] == b"new"
    states = [value for i, value in enumerate(seen) if i == 0 or value != seen[i - 1]]
    assert states == ["absent", b"old", b"new"]


def test_the_disk_of_these_tests_notices_a_missing_sync(disk, monkeypatch):
    path = disk.root / "kept.json"
    write_text(path, "old", durable=True)
    write_text(path, "new")
    assert disk.values("kept.json")[-1] == b"old"  # the old name still stands
    files.sync(disk.root)  # the name alone
    assert disk.values("kept.json")[-1] is None


def test_a_failed_write_leaves_the_old_file_on_the_disk(disk):
    path = disk.root / "kept.json"
    write_text(path, "old", durable=True)
    with suppress(ValueError), atomic_path(path, durable=True) as temporary:
        temporary.write_text("half")
        raise ValueError("halfway")
    assert disk.values("kept.json")[-1] == b"old"


def test_a_run_loses_at_most_the_images_since_the_last_sync(disk, monkeypatch):
    """No line of the ledger is on the disk before the image that it speaks of."""
    monkeypatch.setattr(run_folder, "SYNC_SECONDS", 0.0)
    path = disk.root / "run"
    with RunFolder.exclusive(path, {"model": "m"}, fresh=False) as folder:
        for name in ("a", "b"):
            folder.add([name], np.full((1, 8, 8, 3), 7, np.uint8))
        monkeypatch.setattr(run_folder, "SYNC_SECONDS", 1e9)
        folder.add(["c"], np.full((1, 8, 8, 3), 9, np.uint8))
        assert b'"c"' not in disk.left[-1]["run/ledger.jsonl"]
    for left in disk.left:
        ledger = left.get("run/ledger.jsonl") or b""
        for name in ("a", "b", "c"):
            if f'"{name}"'.encode() in ledger:
                assert left[f"run/images/{name}.png"] == folder.image(name).read_bytes()
        if "run/run.json" in left:
            assert left["run/run.json"] == (path / "run.json").read_bytes()
    assert disk.left[-1]["run/ledger.jsonl"] == folder.ledger.read_bytes()


def test_a_record_and_its_seal_are_on_the_disk_when_they_are_written(disk):
    from aubench.records.record import read_record
    from aubench.report.places import records

    shipped = next(iter(records("synfacs")["test2k"].values()))
    folder = RunFolder(disk.root / "run")
    read_record(shipped).write(folder.record)
    folder.seal()
    assert disk.left[-1]["run/record.json"] == folder.record.read_bytes()
    assert disk.left[-1]["run/record.sha256"] == folder.record.with_suffix(".sha256").read_bytes()
    assert None not in disk.values("run/record.json")

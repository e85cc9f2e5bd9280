"""Runs that are killed, find a full disk or a closed cache, or meet another run."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aubench.errors import AubenchError
from aubench.run.execute import RunConfig, execute
from aubench.storage import folder_lock as lock
from aubench.storage.files import ClosedError, append, atomic_path, sweep, write_text
from aubench.storage.run_folder import RunFolder, read_line

SCRIPT = Path(__file__).with_name("endurance.py")
HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from aubench.storage.folder_lock import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


def _trial(home, out, *words, inside=()):
    home.mkdir()
    done = subprocess.run(
        [*inside, sys.executable, SCRIPT, *map(str, words), "--cheap-faces", "--out", out],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "AUBENCH_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def _content(record):
    """Return what two runs agree on, also where somebody commits in between."""
    content = record.content()
    content["provenance"].pop("revision")
    return content


@pytest.fixture(scope="module")
def calm(small_runs, tmp_path_factory):
    """Return a short run's configuration, by folder, and the content of its record."""

    def config(out, **more):
        return RunConfig("copy-reference", "conflict", out, limit=24, metrics=("pixels",), **more)

    return config, _content(execute(config(tmp_path_factory.mktemp("calm") / "run")))


def _leftovers(folder):
    return [path for path in folder.rglob("*.tmp") if path.is_file()]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path):
    """The script's own 50 kills over 500 samples are in docs/endurance.md; these are fewer."""
    words = ("kills", "--kills", 8, "--samples", 60, "--metrics", "pixels,au")
    told = _trial(tmp_path / "home", tmp_path / "out", *words)["kills"]
    assert told["kills"] == sum(told["when"].values()) == 8 and told["identical"]
    assert told["left over"] == []


def _may_mount(place):
    words = ("unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", place)
    try:
        return subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_small_disks_and_a_read_only_cache(tmp_path):
    """Real file systems in a name space of their own; injected errors below need no rights."""
    if not _may_mount(tmp_path):
        pytest.skip("this system lets nobody mount in a name space")
    words = ("full", "readonly", "--samples", 12, "--disks", 3, "--metrics", "pixels,au")
    inside = ("unshare", "--map-root-user", "--mount")
    told = _trial(tmp_path / "home", tmp_path / "out", *words, inside=inside)
    assert told["full"]["errors"] == [] and told["full"]["half written"] == []
    assert len(told["full"]["stopped"]) >= 2
    closed = told["readonly"]
    assert closed["identical"] and closed["has all"]["lines"] == []
    assert closed["lacks features"]["code"] == 0 and closed["lacks features"]["record"]
    assert "measured features are not kept" in closed["lacks features"]["lines"][0]
    assert closed["lacks faces"]["code"] == 2 and len(closed["lacks faces"]["lines"]) == 1
    assert "set AUBENCH_HOME to a writable folder" in closed["lacks faces"]["lines"][0]


class Disk:
    """Refuses the n-th writing from now on, and all that follow; half of an appendix is written."""

    def __init__(self, monkeypatch, code):
        self.left, self.count, self.code = None, 0, code
        self._replace, self._write = Path.replace, os.write
        monkeypatch.setattr(Path, "replace", lambda *words: self._once(self._replace, *words))
        monkeypatch.setattr(os, "write", self._append)

    def _full(self):
        self.count += 1
        return self.left is not None and self.count > self.left

    def _once(self, call, *words):
        if self._full():
            raise OSError(self.code, os.strerror(self.code))
        return call(*words)

    def _append(self, handle, data):
        if self._full():
            if len(data) > 1 and self.count == self.left + 1:
                return self._write(handle, bytes(data[: len(data) // 2]))
            raise OSError(self.code, os.strerror(self.code))
        return self._write(handle, data)

    def allow(self, count):
        self.left, self.count = count, 0


def test_a_disk_full_at_any_writing_is_one_line_and_the_run_goes_on(tmp_path, calm, monkeypatch):
    config, expected = calm
    disk = Disk(monkeypatch, errno.ENOSPC)
    disk.allow(10**6)
    assert _content(execute(config(tmp_path / "whole", batch_size=5))) == expected
    total = disk.count
    assert total > 24 + 5
    for allowed in [0, 1, 9, *range(total - 5, total)]:
        out = tmp_path / str(allowed)
        disk.allow(allowed)
        with pytest.raises(AubenchError, match=r"no space left to write .*; free some disk$"):
            execute(config(out, batch_size=5))
        assert not _leftovers(tmp_path)
        ledger = out / "ledger.jsonl"
        text = ledger.read_text() if ledger.exists() else ""
        assert all(read_line(line) for line in text.splitlines()) and text[-1:] in ("", "\n")
        assert not (out / "record.json").exists() or allowed == total - 1
        disk.allow(10**6)
        assert _content(execute(config(out, batch_size=5))) == expected


def test_a_closed_cache_keeps_no_features_and_says_so(tmp_path, monkeypatch, capsys):
    import numpy as np

    from aubench.evaluate.feature_cache import reference_path
    from aubench.storage.array_files import _warn_once, read_arrays, write_arrays

    class Network:
        id, sha256 = "n", "0"

    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    _warn_once.cache_clear()
    path = reference_path("content", Network())
    disk = Disk(monkeypatch, errno.EROFS)
    disk.allow(0)
    write_arrays(path, "key", {"a": np.ones((3, 2), np.float32)})
    assert "set AUBENCH_HOME to a writable folder" in capsys.readouterr().err
    assert read_arrays(path, "key", 3) is None and not _leftovers(tmp_path)
    with pytest.raises(ClosedError, match="run/features/a"):
        write_arrays(tmp_path / "run" / "features" / "a", "key", {"a": np.ones(3, np.float32)})


def test_appending_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append(path, b"one\n")
    disk = Disk(monkeypatch, errno.ENOSPC)
    disk.allow(0)
    with pytest.raises(AubenchError, match="no space left"):
        append(path, b"two\nthree\n")
    assert path.read_bytes() == b"one\n"
    disk.allow(10**6)
    path.write_bytes(b"one\ncut")
    append(path, b"four\n")
    assert path.read_bytes() == b"one\ncut\nfour\n"


def test_a_second_run_on_a_folder_is_refused_until_the_first_dies(tmp_path, calm, capsys):
    from aubench.cli.main import main

    config, expected = calm
    out = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SystemExit) as end:
            main(
                [
                    "run",
                    "--model",
                    "copy-reference",
                    "--protocol",
                    "conflict",
                    "--limit",
                    "24",
                    "--metrics",
                    "pixels",
                    "--out",
                    str(out),
                ]
            )
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert end.value.code == 2 and line.startswith("error: ")
        assert f"{out} is in use by process {holder.pid} on {os.uname().nodename}" in line
        assert [path.name for path in out.iterdir()] == [".lock"]
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert _content(execute(config(out))) == expected
    assert not (out / ".lock").exists()


def test_readers_are_not_locked_out_and_a_stranger_s_folder_stays_clean(tmp_path, calm):
    config, _ = calm
    execute(config(tmp_path / "run"))
    with lock.locked(tmp_path / "run"):
        folder = RunFolder.read_only(tmp_path / "run")
        assert len(folder.digests) == 24
        with pytest.raises(AubenchError, match=f"in use by process {os.getpid()} "):
            execute(config(tmp_path / "run"))
    write_text(tmp_path / "photos" / "me.txt", "mine")
    with pytest.raises(AubenchError, match="files of something else"):
        execute(config(tmp_path / "photos", fresh=True))
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.txt"]


def test_only_one_of_many_holds_the_lock(tmp_path):
    """Four processes take and leave it as fast as they can, each adding one where it holds."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from aubench.storage.folder_lock import locked\n"
        "from aubench.errors import AubenchError\n"
        "counter, done, end = Path(sys.argv[2]), 0, time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with locked(Path(sys.argv[1])):\n"
        "            counter.write_text(str(int(counter.read_text()) + 1)); done += 1\n"
        "    except AubenchError: pass\n"
        "print(done)\n"
    )
    words = [sys.executable, "-c", code, tmp_path / "run", counter]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [int(process.communicate(timeout=120)[0]) for process in running]
    assert sum(told) == int(counter.read_text()) > 0


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def unknown(*words):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    with lock.locked(tmp_path / "run"):
        assert "without locks" in capsys.readouterr().err


def test_a_kill_while_starting_afresh_leaves_a_run_folder(tmp_path, calm, monkeypatch):
    """What tells that the folder is a run's goes last."""
    config, expected = calm
    execute(config(tmp_path / "run"))
    removed = []

    def stop(path):
        removed.append(path.name)
        if len(removed) == 3:
            raise KeyboardInterrupt
        Path_unlink(path)

    Path_unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, **more: stop(path))
    with pytest.raises(KeyboardInterrupt):
        execute(config(tmp_path / "run", fresh=True))
    monkeypatch.undo()
    assert "run.json" not in removed and not (tmp_path / "run" / removed[0]).exists()
    assert _content(execute(config(tmp_path / "run", fresh=True))) == expected


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from aubench.storage.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "below" / "kept"])
    assert len(_leftovers(tmp_path)) == 1
    foreign = tmp_path / ".x.abcdef-1-1-01234567.tmp"
    for stranger in (foreign, tmp_path / "a.tmp", tmp_path / ".old.01234567.tmp"):
        stranger.write_text("of another machine, or no such file")
    with atomic_path(tmp_path / "mine") as temporary:
        temporary.write_text("half")
        assert sweep(tmp_path) == 1
        assert temporary.exists()
    kept = {foreign.name, ".old.01234567.tmp", "a.tmp"}
    assert {path.name for path in _leftovers(tmp_path)} == kept
    assert sweep(tmp_path, owned=True) == 2
    assert (tmp_path / "a.tmp").exists() and sweep(tmp_path / "absent") == 0


@pytest.mark.parametrize("step", [-3600.0, 86_400.0 * 400])
def test_nothing_depends_on_the_clock(tmp_path, calm, monkeypatch, step):
    """The clock jumps at every look, and files are as old or as new as a jump makes them."""
    config, expected = calm
    out, now = tmp_path / "run", [time.time()]

    def jumping():
        now[0] += step
        return now[0]

    monkeypatch.setattr(time, "time", jumping)
    first = execute(config(out))
    draw = random.Random(3)
    for path in out.rglob("*"):
        os.utime(path, (draw.uniform(0, 4e9),) * 2)
    again = execute(config(out))
    assert _content(first) == _content(again) == expected
    for record in (first, again):
        assert all(seconds >= 0 for seconds in record.seconds.values())
        assert sum(record.seconds.values()) < 600

"""Building images: the workers' life, the number of workers, what a user may get wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.synfacs.render import render_key

BUILD = """
from aubench.datasets.synfacs.rendered_images import SynfacsImages
if __name__ == "__main__":
    keys = [f"S{i:03d}/1/12={1 + i % 40 / 10:.1f}" for i in range(COUNT)]
    SynfacsImages(2).prefetch(keys, 64, "test")
"""


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_workers_end_with_a_killed_parent_and_the_build_resumes(tmp_path):
    home, script = tmp_path / "home", tmp_path / "build.py"
    script.write_text(BUILD.replace("COUNT", "300"))
    environment = {**os.environ, "AUBENCH_HOME": str(home)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    workers = []
    try:
        assert wait_for(lambda: len(list(home.rglob("*.png"))) >= 3, 120)
        workers = children(parent.pid)
        assert len(workers) >= 2
        # The parent alone, not its group: as the kernel does when memory runs out.
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert wait_for(lambda: not any(map(alive, workers)), 30)
    finally:
        for pid in [parent.pid, *workers]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in home.rglob("*.png")}
    assert 3 <= len(kept) < 300
    script.write_text(BUILD.replace("COUNT", "12"))
    subprocess.run([sys.executable, str(script)], check=True, env=environment)
    assert len(list(home.rglob("*.png"))) >= 12
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


@pytest.mark.slow
def test_the_number_of_workers_changes_no_pixel(tmp_path, monkeypatch):
    keys = [f"S{i:03d}/7/6=2.5+12=3.0" for i in range(20)]
    made = []
    for processes in (1, 2):
        monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / str(processes)))
        source = SynfacsImages(processes)
        source.prefetch(keys, 48, "test")
        made.append(source.load_many(keys, 48))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0][3], render_key(keys[3], size=48))


def test_an_image_is_not_written_over_a_folder(aubench, tmp_path):
    (tmp_path / "faces").mkdir()
    done = aubench("data", "show", "synfacs", "-o", "faces", "--size", "64", check=2)
    assert "'faces' is a directory" in done.stderr and "Traceback" not in done.stderr
    done = aubench("data", "build", "synfacs", "--workers", "0", check=2)
    assert "--workers" in done.stderr

"""Shared fixtures: a cache home for the session, the command line, a stranger's plug-in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def aubench_home(tmp_path_factory):
    """One cache for the whole session, so that a face is rendered once."""
    given = os.environ.get("AUBENCH_HOME")
    home = Path(given) if given else tmp_path_factory.mktemp("aubench-home")
    os.environ["AUBENCH_HOME"] = str(home)
    os.environ.setdefault("TQDM_DISABLE", "1")
    return home


@pytest.fixture(scope="session")
def stranger_site(tmp_path_factory):
    """Install the stranger's package with pip into a folder of its own; return that folder."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "stranger"
    shutil.copytree(HERE / "stranger", source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(site), str(source)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return site


@pytest.fixture(scope="session")
def small_runs(aubench_home, tmp_path_factory):
    """Finished run folders of two controls on 24 samples of ``conflict``, by name; read only."""
    from aubench.engine.run import RunConfig, execute

    root = tmp_path_factory.mktemp("small-runs")
    metrics = ("fid", "kid", "is", "pixels", "aaad", "au")
    for name in ("oracle", "copy-reference"):
        execute(RunConfig(name, "conflict", root / name, limit=24, metrics=metrics))
    return {name: root / name for name in ("oracle", "copy-reference")}


@pytest.fixture
def aubench(stranger_site, tmp_path):
    """Return a function that runs the command line in a process of its own."""

    def call(*words, check=None, **environment):
        done = subprocess.run(
            [sys.executable, "-c", "from aubench.cli.main import main; main()", *map(str, words)],
            capture_output=True, text=True, cwd=tmp_path, timeout=900,
            env={**os.environ, "PYTHONPATH": str(stranger_site), "COLUMNS": "200", **environment},
        )  # fmt: skip
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return call

"""Shared fixtures: a cache home for the session, the command line, a stranger's plug-in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GIVEN = os.environ.get("AUBENCH_HOME")
"""A cache that the user keeps between sessions; nothing in it is hidden."""


class Fetched:
    """The face landmarker's archive, which only a test finds that asks for it.

    Whether another passes would otherwise depend on the tests before it. A cache that the user
    keeps is left alone.
    """

    home: Path | None = None

    @classmethod
    def show(cls, asked: bool) -> bool:
        """Put the archive where it is looked for, or away; return whether it was to be seen."""
        if cls.home is None or GIVEN:
            return asked
        seen, away = (cls.home / name / "mp-face.task" for name in ("weights", "put-away"))
        was = seen.is_file()
        source, place = (away, seen) if asked else (seen, away)
        if source.is_file():
            place.parent.mkdir(exist_ok=True)
            source.rename(place)
        return was


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Show or hide what was fetched before the fixtures of the test are made."""
    Fetched.show("mp_face" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def aubench_home(tmp_path_factory):
    """One cache for the whole session, so that a face is rendered once.

    The workers of xdist have one each, since some tests look for what others leave there; rendered
    faces, whose files are written whole, they share.
    """
    home = Path(GIVEN) if GIVEN else tmp_path_factory.mktemp("aubench-home")
    if not GIVEN and "PYTEST_XDIST_WORKER" in os.environ:
        faces = tmp_path_factory.getbasetemp().parent / "faces"
        faces.mkdir(exist_ok=True)
        (home / "synfacs").symlink_to(faces)
    os.environ["AUBENCH_HOME"] = str(home)
    Fetched.home = home
    os.environ.setdefault("TQDM_DISABLE", "1")
    return home


@pytest.fixture(scope="session")
def stranger_site(tmp_path_factory):
    """Install the stranger's package with pip into a folder of its own; return that folder."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "stranger"
    shutil.copytree(HERE / "stranger", source)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--target",
            str(site),
            str(source),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return site


@pytest.fixture(scope="session")
def small_runs(aubench_home, tmp_path_factory):
    """Finished run folders of two controls on 24 samples of ``conflict``, by name; read only."""
    from aubench.run.execute import RunConfig, execute

    root = tmp_path_factory.mktemp("small-runs")
    metrics = ("fid", "kid", "is", "pixels", "aaad", "au")
    seen = Fetched.show(False)
    for name in ("oracle", "copy-reference"):
        execute(RunConfig(name, "conflict", root / name, limit=24, metrics=metrics))
    Fetched.show(seen)
    return {name: root / name for name in ("oracle", "copy-reference")}


def _checked(done, check):
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


@pytest.fixture
def aubench_process(stranger_site, tmp_path):
    """Return a function that runs the command line in a process of its own, as a user does."""

    def call(*words, check=None, **environment):
        done = subprocess.run(
            [sys.executable, "-c", "from aubench.cli.main import main; main()", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=900,
            env={**os.environ, "PYTHONPATH": str(stranger_site), "COLUMNS": "200", **environment},
        )
        return _checked(done, check)

    return call


@pytest.fixture
def aubench(stranger_site, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command line in this process, as ``main`` does.

    A process of its own imports torch anew for seconds; `aubench_process` is for what needs one.
    """
    from aubench.cli.exit_codes import run_to_end
    from aubench.cli.main import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", [str(stranger_site), *sys.path])

    def call(*words, check=None, **environment):
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            code = run_to_end(cli, [str(word) for word in words], "aubench")
        shown = capsys.readouterr()
        done = subprocess.CompletedProcess(words, code, shown.out, shown.err)
        return _checked(done, check)

    return call


@pytest.fixture(scope="session")
def mp_face(aubench_home):
    """The face landmarker's archive, fetched once as a user fetches it."""
    from aubench.cli.main import cli
    from aubench.networks import external_weights as weights

    cli.main(["weights", "fetch", "mp-face"], standalone_mode=False)
    return weights.path("mp-face")


@pytest.fixture(scope="session")
def landmarker(mp_face):
    """The face landmarker, loaded once."""
    from aubench.networks.face_landmarker import FaceLandmarker

    return FaceLandmarker.load()

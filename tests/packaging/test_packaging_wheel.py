"""The wheel: what is in it, that the source archive gives the same, that it runs elsewhere."""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LIMIT = 60_000_000
PLACES = {
    "aubench": "aubench",
    "reference_model/vqauface": "vqauface",
    "baselines/aubench_baselines": "aubench_baselines",
    "protocols": "aubench/_shipped/protocols",
    "leaderboards": "aubench/_shipped/leaderboards",
    "constraints.txt": "aubench/_shipped/constraints.txt",
}


def build(kind, source, folder):
    """Return the wheel or the source archive that the build backend makes of a source tree."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(words, cwd=source, check=True, capture_output=True, timeout=300)
    (made,) = folder.iterdir()
    return made


def tracked():
    """Return the files of the working tree that git does not ignore, relative to its root."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def contents(wheel):
    """Return sha256 by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def test_the_wheel_is_small_enough(wheel):
    assert wheel.stat().st_size <= LIMIT
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository to compare with")
def test_the_wheel_holds_the_packages_and_what_they_need_and_nothing_else(contents):
    expected = {}
    for name in tracked():
        for source, place in PLACES.items():
            if name == source or name.startswith(f"{source}/"):
                digest = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
                expected[place + name.removeprefix(source)] = digest
    found = {name: digest for name, digest in contents.items() if ".dist-info/" not in name}
    assert found == expected


def test_of_each_kind_of_file_there_is_one(contents):
    for name in (
        "aubench/py.typed",
        "aubench/facs/facs.toml",
        "aubench/networks/weights.toml",
        "aubench/facs/describe/dictionary.toml",
        "aubench/synfacs/asset.npz",
        "aubench/study/design/consent.txt",
        "aubench/study/server/assets/rank.html",
        "aubench/report/leaderboards/assets/site.css",
        "aubench/_shipped/protocols/synfacs/unseen/SHA256SUMS",
        "aubench/_shipped/leaderboards/paper.toml",
        "aubench/_shipped/constraints.txt",
        "aubench/_shipped/leaderboards/synfacs/test2k/vqauface.json",
        "aubench/networks/textau/weights/nano-dictionary.tokenizer.json",
        "aubench_baselines/sd15_lora/weights/sd15-nano-base/unet/config.json",
        "vqauface/weights/nano.safetensors",
    ):
        assert name in contents
    strange = ("tests/", "docs/", "__pycache__", ".pyc", ".tox", "_cache/", ".DS_Store")
    assert not [name for name in contents if any(part in name for part in strange)]


def metadata_file(wheel, name):
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (at for at in archive.namelist() if at.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def test_the_wheel_states_licences_versions_extras_and_plug_ins(wheel, contents):
    project = CONFIG["project"]
    meta = Parser().parsestr(metadata_file(wheel, "METADATA"))
    assert meta["License-Expression"] == "Apache-2.0"
    assert meta["Requires-Python"] == project["requires-python"]
    assert set(meta.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert set(meta.get_all("Classifier")) == set(project["classifiers"])
    for name in ("LICENSE", "NOTICE"):
        (inside,) = (at for at in contents if at.endswith(f"/licenses/{name}"))
        assert contents[inside] == hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    points = ConfigParser()
    points.optionxform = str
    points.read_string(metadata_file(wheel, "entry_points.txt"))
    given = project["entry-points"]["aubench.generators"]
    assert dict(points["aubench.generators"]) == given
    for target in given.values():
        module = target.partition(":")[0].replace(".", "/")
        assert f"{module}.py" in contents or f"{module}/__init__.py" in contents


def test_the_source_archive_gives_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.11.4
        archive.extractall(tmp_path / "source", **safe)
    (source,) = (tmp_path / "source").iterdir()
    for name in ("tests/conftest.py", "docs/study.md", "tox.ini", ".ci/run", "LICENSE", "NOTICE"):
        assert (source / name).is_file()
    (tmp_path / "again").mkdir()
    again = build("wheel", source, tmp_path / "again")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """Return the ``bin`` of a fresh environment with the wheel; the rest is borrowed from ours.

    A path file borrows, and such files are not followed from there, so that no editable install
    of the source tree comes along.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    words = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    site = next(folder.glob("lib/python*/site-packages"))
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(ours)))
    return folder / "bin"


@pytest.fixture
def call(elsewhere, aubench_home, tmp_path):
    """Return a function that runs a program of that environment in an empty folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment = {**kept, "AUBENCH_HOME": str(aubench_home), "COLUMNS": "200"}

    def run(*words):
        done = subprocess.run(
            [str(elsewhere / words[0]), *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_the_installed_wheel_runs_the_main_job(call, elsewhere, tmp_path):
    names = ("aubench", "vqauface", "aubench_baselines")
    script = f"import {', '.join(names)}\nfor m in ({', '.join(names)}): print(m.__file__)"
    files = call("python", "-c", script).split()
    assert all(Path(file).is_relative_to(elsewhere.parent) for file in files)
    words = ("--model", "vqauface", "--protocol", "unseen", "--limit", "12", "--out", "run")
    assert "FID" in call("aubench", "run", *words)
    record = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))
    assert record["protocol"]["name"] == "unseen"
    assert len(list((tmp_path / "run" / "images").glob("*.png"))) == 12


@pytest.mark.slow
def test_the_installed_wheel_finds_what_it_ships(call):
    assert "Usage:" in call("aubench", "--help")
    models = call("aubench", "models")
    assert all(name in models for name in CONFIG["project"]["entry-points"]["aubench.generators"])
    assert "unseen" in call("aubench", "protocols")
    table = call("aubench", "report")
    assert "vqauface" in table
    assert "copy-reference" in table

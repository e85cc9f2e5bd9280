"""Data sets of third parties: scaffolded, installed, run, scored, handed in; broken ones told."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import forked
import pytest

from aubench.cli.data.import_ import _installed_sets
from aubench.datasets import registry
from aubench.datasets.conformance import check_dataset
from aubench.datasets.registry import dataset_names, find_dataset, named_dataset
from aubench.datasets.scaffold import write_package
from aubench.errors import AubenchError
from aubench.plugins import group as plugins


@pytest.fixture
def registered(monkeypatch):
    """Return what registers entry points beside synfacs."""

    real = plugins.entry_points

    def forget():
        plugins._registered.cache_clear()
        registry.load_installed.cache_clear()

    def register(**points):
        def more(*, group):
            mine = [EntryPoint(name, value, group) for name, value in points.items()]
            return [*real(group=group), *(mine if group == registry.GROUP.group else [])]

        monkeypatch.setattr(plugins, "entry_points", more)
        forget()

    yield register
    monkeypatch.undo()
    forget()


def test_a_broken_package_is_one_line_and_hides_none(registered):
    registered(broken="no_such_module:Faces", strange="json:JSONDecoder")
    assert set(dataset_names()) >= {"broken", "strange", "synfacs"}
    assert find_dataset("synfacs").name == "synfacs"
    told = {row["name"]: row["reason"] for row in _installed_sets()}
    assert "ModuleNotFoundError" in told["broken"] and "\n" not in told["broken"]
    with pytest.raises(AubenchError, match=r"'broken' .* cannot be imported: ModuleNotFoundError"):
        find_dataset("broken")
    with pytest.raises(AubenchError, match=r"'strange' .* is not an .*Dataset of that name"):
        find_dataset("strange")
    with pytest.raises(AubenchError, match=r"unknown data set 'brokn' .did you mean 'broken'"):
        find_dataset("brokn")


def test_what_is_not_here_is_private_and_read_by_the_witness():
    absent = named_dataset("photographs")
    assert absent.restricted and not absent.exact_intensities
    assert absent.default_networks.detectors == "mp-zero"  # it knows photographs
    assert absent.default_networks.extractor == "inception-2015-12-05"
    ours = named_dataset("synfacs")
    assert not ours.restricted and ours.default_networks.identity == "nano-id"


def test_what_a_data_set_must_keep_to(tmp_path):
    write_package("two-squares", tmp_path / "p")
    space = {}
    exec((tmp_path / "p/two_squares/__init__.py").read_text().replace("__file__", "'x'"), space)
    good = space["TwoSquares"]
    assert check_dataset(good()) == {"train": 240, "validation": 60, "test": 120}

    def broken(**changes):
        class Broken(good):
            def split_faces(self, split):
                from dataclasses import replace

                faces = super().split_faces(split)
                return replace(faces, **{key: value(faces) for key, value in changes.items()})

        return Broken()

    for change, expected in (
        ({"subjects": lambda f: ("P00",) * len(f)}, "subject 'P00' is in train and in validation"),
        ({"keys": lambda f: f.keys[:1] * len(f)}, "occurs twice"),
        ({"labels": lambda f: f.labels + 5}, "a label that is not"),
        ({"intensities": lambda f: f.intensities + 3}, "outside 0..5"),
        ({"intensities": lambda f: f.intensities * 0}, "contradicts its label"),
    ):
        with pytest.raises(AubenchError, match=expected):
            check_dataset(broken(**change))
    with pytest.raises(AubenchError, match="is there already"):
        write_package("two-squares", tmp_path / "p")
    with pytest.raises(AubenchError, match="'synfacs' is installed already"):
        write_package("synfacs", tmp_path / "q")


@pytest.mark.slow
def test_a_scaffolded_package_goes_the_whole_way(aubench_home, tmp_path):
    """Written, installed, frozen, run, reported, compared, published, handed in, verified."""
    site, out = tmp_path / "site", tmp_path / "squares"
    home = str(tmp_path / "home")

    def python(*words):
        subprocess.run(
            [sys.executable, *map(str, words)],
            check=True,
            timeout=900,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site), "AUBENCH_HOME": home},
        )

    def call(*words):
        done = forked.call(words, folder=tmp_path, path=[site], AUBENCH_HOME=home)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install():
        python(
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--upgrade",
            "--target",
            site,
            out,
        )

    call("new-dataset", "squares", "--out", out)
    install()
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", out / "tests")
    call(
        "protocol",
        "freeze",
        "test2k",
        "--data",
        "squares",
        "--samples",
        "20",
        "--size",
        "64",
        "--no-statistics",
        "--out",
        out / "squares" / "protocols",
    )
    install()  # the protocol comes with the package
    assert "test2k" in call("protocols", "--data", "squares")
    assert "holds" in call("protocol", "verify", "test2k", "--data", "squares")
    for model in ("copy-reference", "nearest"):
        call(
            "run",
            "--model",
            model,
            "--data",
            "squares",
            "--protocol",
            "test2k",
            "--metrics",
            "fid,pixels",
            "--out",
            tmp_path / model,
        )
    record = json.loads((tmp_path / "nearest/record.json").read_text())
    assert record["protocol"]["dataset"] == "squares"
    assert record["protocol"]["dataset_fingerprint"] == "squares-1"
    boards = tmp_path / "boards"
    call(
        "report",
        "--leaderboards",
        boards,
        "--data",
        "squares",
        "--add",
        tmp_path / "nearest/record.json",
        "--add",
        tmp_path / "copy-reference/record.json",
    )
    told = call("report", "--leaderboards", boards, "--data", "squares", "--protocol", "test2k")
    assert "nearest" in told and "copy-reference" in told
    call("compare", tmp_path / "nearest", tmp_path / "copy-reference", "--out", tmp_path / "cmp")
    assert (tmp_path / "cmp/compare.json").is_file()
    call("leaderboard", "build", "--leaderboards", boards, "--out", tmp_path / "pages")
    assert any("squares" in p.read_text() for p in (tmp_path / "pages").rglob("*.html"))
    call("submit", tmp_path / "nearest", "--out", tmp_path / "bundle")
    done = forked.call(("verify", "bundle"), folder=tmp_path, path=[site], AUBENCH_HOME=home)
    assert "8 images made again, 8 with the same pixels" in done.stdout
    wrong = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert wrong and all("leaves out metric" in line for line in wrong), done.stdout
    call(
        "train-text-au",
        "--data",
        "squares",
        "--epochs",
        "1",
        "--limit",
        "8",
        "--device",
        "cpu",
        "--out",
        tmp_path / "text",
    )
    card = json.loads((tmp_path / "text/nano.card.json").read_text())
    assert card["data"]["name"] == "squares"

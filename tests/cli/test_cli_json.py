"""`--json` of every command: one document on stdout, of the shape that docs/cli.md states."""

import json
import re
import shutil
import sys
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
import trees
from commands import COMMANDS

from aubench.cli.main import cli
from aubench.cli.output import Result, emit, plain, results
from aubench.errors import AubenchError, CheckFailed

ROOT = Path(__file__).parents[2]

EXCEPTIONS = {
    "completion": "prints a script for a shell",
    "study serve": "works until it is stopped and prints no result",
}
ELSEWHERE = {
    "audit aaad": "audit/test_audit.py",
    "audit witness": "audit/test_audit_witness.py",
    "audit synfacs": "audit/test_audit_synfacs.py",
    "estimate": "run/test_estimate.py",
    "merge": "cli/test_cli_json.py",
    "protocol draw": "protocols/test_sealed_draws.py",
    "protocol reveal": "protocols/test_sealed_draws.py",
    **dict.fromkeys(
        ("study create", "study links", "study simulate", "study close", "study score"),
        "study/test_study_json.py",
    ),
    "study erase": "study/test_study_json.py",
    "study calibrate": "study/test_study_plan.py",
}
"""Commands whose --json has a test with what they need."""

LIST = "list"
SHAPES = {
    "run": {"files", "record"},
    "report": {"label-input"},
    "leaderboard build": {"files"},
    "leaderboard readme": {"files"},
    "figure grid": {"files"},
    "figure failures": {"files"},
    "figure heatmap": {"files"},
    "figure radar": {"files"},
    "figure scatter": {"files"},
    "figure combinations": {"files"},
    "figure curves": {"files"},
    "submit": {"files", "bytes"},
    "verify": LIST,
    "commit": {"files", "model", "weights_sha256", "code_sha256", "digest"},
    "doctor": {"comparable", "checks"},
    "compare": {"first", "second", "metrics"},
    "view": {"files", "samples"},
    "export hub": {"files"},
    "demo": {"files", "lines"},
    "models": LIST,
    "models show": {"name", "status", "inputs", "licence", "training"},
    "models check": {"model", "failed", "checks"},
    "models new": {"files"},
    "check-generator": {"model", "failed", "checks"},
    "new-generator": {"files"},
    "new-dataset": {"files"},
    "new-metric": {"files"},
    "protocols": LIST,
    "protocol show": {"name", "version", "sha256", "samples", "strata", "combinations", "first"},
    "protocol verify": {"name", "holds", "samples", "sha256"},
    "protocol export": {"files", "requests", "references", "targets"},
    "protocol freeze": {"files"},
    "protocol seal": {"files", "protocol", "data", "seal"},
    "export-prompts": {"files", "requests", "references"},
    "describe": {"text", "aus", "constructs", "muscles", "conflicts", "levels"},
    "data build": {"splits", "size", "folder"},
    "data show": {"files", "key"},
    "data sheet": {"files", "subjects", "columns"},
    "data ramp": {"files", "subjects", "aus"},
    "data align": {"files", "counts", "notes"},
    "data import": {"name", "imported", "counts", "published", "faults", "uncoded"},
    "data list": LIST,
    "data card": {"files", "name", "restricted", "lacking"},
    "data export": {"files", "data", "layout", "images"},
    "data text": {"name", "images", "texts", "words", "conflicts"},
    "data set": {"files", "name", "detectors", "text_au", "extractor", "witness"},
    "weights list": LIST,
    "weights fetch": {"files", "names", "tried"},
    "weights verify": LIST,
    "weights add": {"files", "name"},
    "text-au": {"text", "classifier", "probabilities", "active", "warnings"},
    "train": {"files", "model", "preset"},
    "ablate": LIST,
    "train-text-au": {"files", "report"},
    "train-au-detector": {"files", "report"},
    "study power": {"question", "wanted", "studies", "sizes"},
    "study check": {"table", "faults", "findings"},
    "detectors report": {"test"},
}
"""Keys that each document has at least, or that it is a list."""

WORDS = {
    "run": "--model copy-reference --protocol conflict --limit 6 --metrics pixels --out {tmp}/run",
    "report": "--protocol label-input",
    "leaderboard build": "--leaderboards {boards} --out {tmp}/site",
    "leaderboard readme": "--leaderboards {boards}",
    "figure grid": "{oracle} {copy} --aus 12+15 -o {tmp}/a.svg",
    "figure failures": "{copy} --count 2 -o {tmp}/a.svg",
    "figure heatmap": "{oracle} -o {tmp}/a.svg",
    "figure radar": "--protocol label-input -o {tmp}/a.svg",
    "figure scatter": "--protocol label-input -o {tmp}/a.svg",
    "figure combinations": "--protocol conflict -o {tmp}/a.svg",
    "figure curves": "{curve} -o {tmp}/a.svg",
    "submit": "{oracle} --out {tmp}/bundle --limited",
    "verify": "{bundle} --images 0",
    "commit": "vqauface --out {tmp}/commit.json",
    "doctor": "--quick",
    "compare": "{oracle} {copy} --out {tmp}/compare --worst 0",
    "demo": "--samples 6 --out {tmp}/demo",
    "view": "{oracle} {copy} --limit 2 --out {tmp}/view",
    "export hub": "--protocol label-input --out {tmp}/hub",
    "models": "",
    "models show": "copy-reference",
    "models check": "copy-reference --samples 2",
    "models new": "mine --out {tmp}/mine",
    "check-generator": "copy-reference --samples 2",
    "new-generator": "mine --out {tmp}/mine",
    "new-dataset": "squares --out {tmp}/squares",
    "new-metric": "sharp --out {tmp}/sharp",
    "protocols": "",
    "protocol show": "label-input",
    "protocol verify": "label-input",
    "protocol export": "conflict --limit 2 --size 32 --images --out {tmp}/prompts",
    "protocol freeze": "conflict --out {tmp}/frozen",
    "protocol seal": "conflict --out {tmp}/sealed",
    "export-prompts": "--protocol conflict --limit 2 --out {tmp}/prompts",
    "describe": "6+12+15 --intensity 12=3",
    "data build": "synfacs --split test",
    "data show": "synfacs --size 32 -o {tmp}/a.png",
    "data sheet": "--subjects S320 --size 32 -o {tmp}/a.png",
    "data ramp": "12 --subjects S02000 --size 32 -o {tmp}/a.png",
    "data align": "{tmp} --out {tmp}/faces",
    "data import": "folder {photos} --name own --align none --free --size 64 --workers 1",
    "data list": "",
    "data card": "synfacs --protocol conflict --out {tmp}/card",
    "data export": "synfacs --limit 1 --as csv --size 32 --out {tmp}/mine",
    "data text": "mine",
    "data set": "synfacs",
    "weights list": "",
    "weights fetch": "lpips-alexnet",
    "weights verify": "",
    "weights add": "lpips-alexnet {curve}",
    "text-au": "raises_the_corners_of_the_lips",
    "train": "vqauface --out {tmp}/weights",
    "ablate": "vqauface --list",
    "train-text-au": "--out {tmp}",
    "train-au-detector": "--out {tmp}",
    "study power": "--studies 10 --raters 5 --items 2",
    "study check": "--paper",
    "detectors report": "nano-a --out {tmp}",
}
"""A small call of each."""


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_json_and_a_stated_shape(path):
    flags = {flag for parameter in COMMANDS[path].params for flag in parameter.opts}
    if path in EXCEPTIONS:
        assert "--json" not in flags and EXCEPTIONS[path]
        return
    assert "--json" in flags, f"{path}: decorate it with aubench.cli.output.results"
    documented = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"| `{path}` |" in documented
    if path in ELSEWHERE:
        assert '"--json"' in (ROOT / "tests" / ELSEWHERE[path]).read_text(encoding="utf-8")
        return
    stated = SHAPES[path]
    assert path in WORDS
    row = next(line for line in documented.splitlines() if line.startswith(f"| `{path}` |"))
    assert stated == LIST or all(re.search(rf"`{key}`", row) for key in stated - {"label-input"})


def test_no_stated_shape_is_of_a_command_that_is_gone():
    assert {*SHAPES, *EXCEPTIONS, *ELSEWHERE} == set(COMMANDS)
    assert set(WORDS) == set(SHAPES)


@dataclass
class Crop:
    image: str
    status: str
    notes: str = ""


def substitute(path, monkeypatch, tmp_path):
    """Put something light in the place of what takes minutes and has tests of its own."""
    report = tmp_path / "report.json"
    report.write_text('{"test": {"f1": 0.5}}')
    light = {
        "data build": {
            "aubench.datasets.synfacs.rendered_images.SynfacsImages.packed": (
                lambda self, keys, size, label: None
            ),
        },
        "data align": {
            "aubench.datasets.face_finders.load_finder": lambda name, device: None,
            "aubench.datasets.importing.crops.photographs": lambda folder: ["a.png"],
            "aubench.datasets.importing.crops.crop_folder": lambda *a: [
                Crop("a.png", "found", "small")
            ],
        },
        "protocol freeze": {"aubench.protocols.synfacs_draws.freeze": lambda name, out: out / name},
        "train-text-au": {
            "aubench.networks.textau.train.train": lambda *a, **k: tmp_path / "weights"
        },
        "train-au-detector": {
            "aubench.networks.detectors.training.train.train": lambda *a, **k: tmp_path / "weights",
            "aubench.networks.detectors.calibration.read_report": lambda p: json.loads(
                p.read_text()
            ),
        },
        "detectors report": {
            "aubench.networks.detectors.assess.assess": lambda *a, **k: [report],
            "aubench.networks.detectors.calibration.read_report": lambda p: json.loads(
                p.read_text()
            ),
        },
        "weights fetch": {
            "aubench.networks.external_weights.fetch": lambda name: (tmp_path / name, ["a: no"])
        },
        "weights add": {
            "aubench.networks.external_weights.add": lambda name, file: tmp_path / name
        },
    }
    if path == "train-text-au":
        monkeypatch.setattr("aubench.networks.textau.report.read_report", lambda p: {"test": {}})
    if path == "train":
        from aubench.generators.registry import generator_class

        model = generator_class("vqauface")
        monkeypatch.setattr(model, "fit", classmethod(lambda cls, training: training.out))
    for place, function in light.get(path, {}).items():
        monkeypatch.setattr(place, function)


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """Leaderboards of one protocol."""
    root = tmp_path_factory.mktemp("boards")
    shutil.copytree(ROOT / "leaderboards/synfacs/label-input", root / "synfacs/label-input")
    for name in ("paper.toml",):
        shutil.copy(ROOT / "leaderboards" / name, root)
    return root


def ask(capsys, path, words):
    """Run a command with --json; return its document, and check that nothing else is on stdout."""
    capsys.readouterr()
    cli.main([*path.split(), *words, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


OWN = ("data import", "data list", "data text")


@pytest.mark.parametrize("path", [p for p in SHAPES if p not in OWN])
def test_stdout_is_one_document_of_the_stated_shape(
    path, small_runs, boards, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    substitute(path, monkeypatch, tmp_path)
    curve = tmp_path / "log.csv"
    curve.write_text("step,loss\n1,2.0\n2,1.0\n")
    names = {
        "tmp": tmp_path,
        "boards": boards,
        "curve": curve,
        "oracle": small_runs["oracle"],
        "copy": small_runs["copy-reference"],
        "bundle": tmp_path / "bundle",
    }
    if path == "verify":
        ask(capsys, "submit", f"{names['oracle']} --out {names['bundle']} --limited".split())
    check(ask(capsys, path, WORDS[path].format(**names).split()), SHAPES[path], path)


def check(document, shape, path):
    if shape == LIST:
        assert isinstance(document, list)
        return
    assert shape <= set(document), f"{path}: {sorted(document)}"
    for name in document.get("files", []):
        assert isinstance(name, str)


def test_shards_merged_for_machines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--model copy-reference --protocol conflict --limit 6 --metrics pixels --out run"
    for shard in ("1/2", "2/2"):
        ask(capsys, "run", [*words.split(), "--shard", shard])
    found = ask(capsys, "merge", ["run"])
    check(found, SHAPES["run"], "merge")
    assert found["record"]["counts"]["generated"] == 6


def test_data_of_ones_own(tmp_path, monkeypatch, capsys, aubench_home):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    photos = trees.write_folder(tmp_path / "photos", trees.shots(["F001"], ["T1"]))
    found = ask(capsys, "data import", WORDS["data import"].format(photos=photos).split())
    check(found, SHAPES["data import"], "data import")
    assert found["imported"] is True
    (row,) = [row for row in ask(capsys, "data list", []) if row["name"] == "own"]
    assert row["faces"] == found["counts"]["faces"] > 0
    assert row["restricted"] is False
    check(ask(capsys, "data text", ["own"]), SHAPES["data text"], "data text")


def test_what_json_cannot_hold_is_told_plainly(capsys):
    Point = namedtuple("Point", "x y")
    emit(
        {
            "nan": float("nan"),
            (6, 12): np.float32(0.5),
            "set": {"b", "a"},
            "path": Path("x"),
            "array": np.array([[1, np.inf]]),
            "point": Point(1, 2),
            3: None,
            "é": True,
        }
    )
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {
        "nan": None,
        "6+12": 0.5,
        "set": ["a", "b"],
        "path": "x",
        "array": [[1.0, None]],
        "point": [1, 2],
        "3": None,
        "é": True,
    }
    with pytest.raises(TypeError, match="object is nothing"):
        plain(object())


@click.command()
@click.option("--fail", is_flag=True)
@results
def noisy(fail):
    """A command whose parts print where they should not."""
    print("a plug-in says hello")  # noqa: T201
    click.echo("so does the harness")
    if fail:
        raise AubenchError("bad input")
    return Result({"a": 1}, lambda: click.echo("a is 1"), failure="a should be 2")


def test_other_output_goes_to_stderr_and_a_failure_is_still_told(capsys):
    with pytest.raises(CheckFailed, match="a should be 2"):
        noisy.main(["--json"], standalone_mode=False)
    told = capsys.readouterr()
    assert json.loads(told.out) == {"a": 1}
    assert told.err.splitlines() == ["a plug-in says hello", "so does the harness"]
    with pytest.raises(CheckFailed):
        noisy.main([], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[-1] == "a is 1"
    with pytest.raises(AubenchError):
        noisy.main(["--json", "--fail"], standalone_mode=False)
    assert capsys.readouterr().out == "" and sys.stdout is not sys.stderr


def test_json_before_a_sub_command_counts(capsys):
    cli.main(["models", "--json", "show", "copy-reference"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["name"] == "copy-reference"

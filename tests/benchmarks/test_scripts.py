"""The benchmarks that are run by hand run at all: each once, with the least that it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def call(script, *words, **environment):
    """Run a script in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, HERE / script, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", ["moments", "scores", "pairs"])
def test_memory_against_n(path):
    told = call("bench_memory.py", "--path", path, "--networks", "none", "--once", 100)
    out = json.loads(told)
    assert out["n"] == 100 and out["peak MiB"] > 0 and out["values"]


def test_rows_of_an_import():
    lines = [json.loads(line) for line in call("import_rows.py", 40_000).splitlines()]
    found = {line["stage"]: line for line in lines}
    assert found["freeze test2k"]["samples"] == 2000
    assert found["text"]["texts"] == found["plan and index"]["rows"] > 30_000


def test_precision(tmp_path):
    from aubench.run.execute import RunConfig, execute

    execute(RunConfig("copy-reference", "test2k", tmp_path / "run", limit=8, metrics=("pixels",)))
    words = ("--images", 8, "--only", "batch of 8", "--random-alexnet")
    told = call("precision.py", tmp_path / "run", *words)
    *_, row = told.splitlines()
    assert row.startswith("| batch of 8 |") and "nan" not in row


def test_load_on_a_study(tmp_path):
    import numpy as np

    from aubench.cli.main import cli
    from aubench.protocols.protocol import load_protocol
    from aubench.storage.run_folder import RunFolder
    from aubench.study.design.trials import draw_main

    protocol, models = load_protocol("conflict"), ("oracle", "copy-reference")
    drawn = draw_main(protocol.samples().frame, 1, np.random.default_rng(0))
    for number, name in enumerate(models):
        stated = {"model": name, "protocol": "synfacs/conflict", "protocol sha256": protocol.sha256}
        folder = RunFolder.create(tmp_path / "runs" / f"synfacs-conflict-{name}", stated)
        images = np.random.default_rng(number).integers(0, 256, (len(drawn), 32, 32, 3), np.uint8)
        folder.add([draft.sample for draft in drawn], images)
    blanks = "controller contact approval purpose duration payment sharing retention withdrawal"
    consent = "".join(f'{name} = "none, bots judge"\n' for name in blanks.split())
    (tmp_path / "settings.toml").write_text(f"[consent]\n{consent}")
    words = [
        "study",
        "create",
        "--settings",
        str(tmp_path / "settings.toml"),
        "--models",
        ",".join(models),
        "--per-combination",
        "1",
        "--gold",
        "0",
        "--duplicates",
        "0",
        "--raters",
        "2",
        "--spare",
        "0",
        "--seed",
        "0",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "study"),
    ]
    cli.main(words, standalone_mode=False)
    told = call("study_load.py", tmp_path / "study", 2, 1)
    assert told.startswith("2 bots, 1 kills: ")
    assert " 0 lost or changed, 0 twice, 0 kills with a gap" in told

"""The command line as a user meets it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_help_names_every_command(aubench_process):
    from aubench.cli.main import COMMANDS

    text = aubench_process("--help", check=0).stdout
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "report",
        "models",
        "protocols",
        "protocol",
        "describe",
        "data",
        "weights",
        "audit",
        "text-au",
        "train-text-au",
        "train-au-detector",
        "detectors",
    ],
)
def test_every_command_has_help(aubench, name):
    assert "Usage" in aubench(name, "--help", check=0).stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from aubench.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'numba', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_models_lists_ours_and_strangers_with_reasons(aubench, aubench_process):
    text = aubench_process("models", check=0).stdout
    for name in ("vqauface", "oracle", "copy-reference", "shuffled", "nearest", "stranger"):
        assert name in text
    broken = next(line for line in text.splitlines() if line.startswith("stranger-broken"))
    assert "unavailable" in broken and "a_package_that_is_not_there" in text
    states = {line.split()[0]: line for line in text.splitlines()}
    assert states["oracle"].split()[:2] == ["oracle", "ready"]
    assert "needs --images" in states["images"]
    aubench("run", "--model", "images", "--protocol", "unseen", check=2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--model", "oracel", "--protocol", "unseen"], "did you mean 'oracle'"),
        (["run", "--model", "oracle", "--protocol", "unsen"], "did you mean 'unseen'"),
        (["run", "--model", "oracle", "--protocol", "unseen", "--metrics", "fidd"], "mean 'fid'"),
        (["run", "--model", "vqauface", "--protocol", "label-input"], "gives AU labels"),
        (["run", "--model", "oracle", "--protocol", "unseen", "--device", "cuda:9"], "--device"),
        (["run", "--model", "stranger-broken", "--protocol", "unseen"], "cannot be imported"),
        (["run", "--model", "oracle", "--protocol", "unseen", "--limit", "x"], "--limit"),
        (["describe", "6+99"], "unknown AU '99'"),
        (["describe", "6+6"], "AU6 is listed twice"),
        (["rnu"], "did you mean 'run'"),
        (["report", "--data", "nothing"], "no records"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(aubench, tmp_path, words, expected):
    done = aubench(*words, check=2)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert expected in lines[0]
    assert not list(tmp_path.glob("runs/*/record.json"))


def test_a_process_ends_with_the_same_line_and_code(aubench, aubench_process):
    words = ["run", "--model", "oracel", "--protocol", "unseen"]
    alone, here = aubench_process(*words, check=2), aubench(*words, check=2)
    assert alone.stderr == here.stderr != "" and alone.stdout == here.stdout == ""


def test_entry_points_match_the_classes():
    from aubench.generators.registry import GROUP, generator_class

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for name in points["aubench.generators"]:
        assert name in GROUP.names()
        assert generator_class(name).info.name == name

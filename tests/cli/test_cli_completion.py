"""Completion as a shell asks for it: variables in, one candidate a line out."""

import os
import shutil
import subprocess
import sys

import click
import pytest
from commands import COMMANDS

from aubench.cli.main import COMMANDS as TABLE
from aubench.cli.main import cli
from aubench.generators.registry import GROUP

MAIN = "from aubench.cli.main import main; main()"


def complete(line, shell="bash", **environment):
    """Return what completes the last word of a line, through the protocol of click's scripts."""
    words = line.split(" ")
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":  # which gives the word itself
        asked["COMP_CWORD"] = words[-1]
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "_AUBENCH_COMPLETE": f"{shell}_complete", **asked, **environment},
    )
    assert done.stderr == "" and done.returncode == 0
    rows = done.stdout.splitlines()
    if shell == "zsh":  # kind, value and help, a line each
        return set(rows[1::3])
    return {row.split(",", 1)[1].split("\t")[0] for row in rows}


@pytest.fixture
def ask(monkeypatch, capsys):
    """The same in this process, for all the lines that need no process of their own."""

    def call(line, **environment):
        words = line.split(" ")
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("_AUBENCH_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as ended:
            cli.main([], prog_name="aubench")
        assert ended.value.code == 0
        return [row.split(",", 1)[1] for row in capsys.readouterr().out.splitlines() if row]

    return call


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_protocol_of_each_shell(shell):
    assert complete("aubench prot", shell) == {"protocols", "protocol"}


def test_every_name_is_completed(ask):
    assert ask("aubench ") == list(TABLE)
    assert set(ask("aubench run --model ")) == set(GROUP.names())
    protocols = ["conflict", "intensity", "label-input", "test2k", "unseen"]
    assert ask("aubench run --model oracle --protocol ") == protocols
    assert ask("aubench protocol show un") == ["unseen"]
    rendered = ["synfacs", "synfacs2", "synfacs2-mixed", "synfacs2-wild"]
    assert ask("aubench run --data s") == rendered
    assert ask("aubench run --metrics fid,k") == ["fid,kid"]
    assert ask("aubench run --metrics fid,fi") == []
    assert ask("aubench report --columns fid,aaad_s") == ["fid,aaad_second"]
    assert ask("aubench figure scatter --x kid_") == ["kid_subset"]
    assert ask("aubench weights fetch lpips-a") == ["lpips-alexnet"]
    assert "--json" in ask("aubench models show --j")
    assert set(ask("aubench data s")) == {"set", "show", "sheet"}
    assert ask("aubench completion ") == ["bash", "zsh", "fish"]


def test_protocols_are_those_of_the_data_set_named_before(ask, tmp_path):
    for name in ("protocols/mine/own/protocol.toml", "data/mine/import.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert ask("aubench run --data mine --protocol ", AUBENCH_HOME=tmp_path) == ["own"]
    assert ask("aubench run --data m", AUBENCH_HOME=tmp_path) == ["mine"]


def test_nothing_is_said_where_something_is_wrong(ask, monkeypatch):
    def broken(*_):
        raise ValueError("damaged metadata")

    monkeypatch.setattr("aubench.plugins.group._registered", broken)
    assert ask("aubench run --model o") == []


OPTIONS = [
    (path, flag)
    for path, command in COMMANDS.items()
    for parameter in command.params
    for flag in parameter.opts
    if flag in ("--model", "--protocol", "--data")
]


@pytest.mark.parametrize(("path", "flag"), OPTIONS)
def test_every_option_of_that_name_completes(path, flag):
    (parameter,) = (p for p in COMMANDS[path].params if flag in p.opts)
    context = click.Context(COMMANDS[path])
    assert [item.value for item in parameter.shell_complete(context, "")]


def test_completion_imports_nothing_heavy():
    code = (
        "import atexit, sys\n"
        "bad = {'torch', 'numpy', 'pandas', 'transformers', 'rich', 'matplotlib', 'vqauface'}\n"
        "atexit.register(lambda: print(*sorted(bad & set(sys.modules)), file=sys.stderr))\n" + MAIN
    )
    for line in ("aubench run --model ", "aubench report --columns a", "aubench data s"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=300,
            env={
                **os.environ,
                "_AUBENCH_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(line.count(" ")),
            },
        )
        assert done.stdout and done.stderr.strip() == ""


def test_bash_itself_completes(aubench, tmp_path):
    bash = shutil.which("bash")
    assert bash, "the tests need bash"
    script = aubench("completion", "bash", check=0).stdout
    command = tmp_path / "bin" / "aubench"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{MAIN}' \"$@\"\n")
    command.chmod(0o755)
    asked = (
        f"{script}\nCOMP_WORDS=(aubench run --model copy)\nCOMP_CWORD=3\n"
        '_aubench_completion aubench\necho "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [bash, "-c", asked],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
    )
    assert done.stdout.split() == ["copy-reference"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_shells_name_the_variable(aubench, shell):
    script = aubench("completion", shell, check=0).stdout
    assert f"_AUBENCH_COMPLETE={shell}_complete" in script and "aubench" in script
    assert "'tcsh' is not one of" in aubench("completion", "tcsh", check=2).stderr

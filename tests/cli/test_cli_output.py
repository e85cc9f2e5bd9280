"""Exit codes, stdout and stderr, colours, widths: how the command line behaves in a shell."""

import ast
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from aubench.cli.exit_codes import run_to_end
from aubench.console import WIDE, Grid, console, print_grid
from aubench.errors import AubenchError, CheckFailed
from aubench.metrics.registry import headline
from aubench.report.leaderboards.leaderboard import boards
from aubench.report.tables.terminal import format_score, print_board, told_apart

ROOT = Path(__file__).parents[2]
MAIN = "from aubench.cli.main import main; main()"
ESCAPE = "\x1b"


def ends(error, capsys):
    """Return exit code and stderr of a command that raises."""

    @click.command()
    def fail():
        raise error

    code = run_to_end(fail, [], "aubench")
    told = capsys.readouterr()
    assert told.out == ""
    return code, told.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            AubenchError("row 3 of a.csv\nis empty", "fill it"),
            2,
            "error: row 3 of a.csv is empty; fill it",
        ),
        (CheckFailed("a differs"), 1, "failed: a differs"),
        (
            click.UsageError("No such option: --x."),
            2,
            "error: no such option: --x; see `aubench --help`",
        ),
        (
            click.BadParameter("Path 'A' does not exist.", param_hint="'--out'"),
            2,
            "error: invalid value for '--out': path 'A' does not exist; see `aubench --help`",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            2,
            "error: no permission for /x; choose another path",
        ),
        (MemoryError(), 2, "error: out of memory; take a smaller batch or size"),
        (
            IsADirectoryError(21, "Is a directory", "/x"),
            2,
            "error: /x: is a directory; choose another path",
        ),
        (
            OSError(36, "File name too long", "y" * 300),
            2,
            f"error: {'y' * 120}: file name too long; choose another path",
        ),
        (OSError(28, "No space left"), 2, "error: no space left to write stdout; free some disk"),
        (RecursionError(), 2, "error: values lie too deep in each other; look at the files named"),
        (
            UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
            2,
            r"error: the name 'caf\xe9' is not UTF-8; rename it",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, code, line, capsys):
    assert ends(error, capsys) == (code, line + "\n")


def test_a_mistake_of_ours_shows_where_and_what_to_send(capsys):
    for error in (RuntimeError("oops"), EOFError("a truncated file"), FileNotFoundError(2, "gone")):
        code, told = ends(error, capsys)
        assert code == 70 and "Traceback" in told and str(error) in told
        assert told.splitlines()[-1].startswith("bug: ") and "aubench doctor --json" in told


def test_an_interrupt_ends_with_130(capsys):
    code, told = ends(KeyboardInterrupt(), capsys)
    assert code == 130 and told.strip() == "interrupted"


def test_the_traceback_of_an_expected_error_is_shown_on_request(capsys, monkeypatch):
    monkeypatch.setenv("AUBENCH_DEBUG", "1")
    code, told = ends(AubenchError("bad row"), capsys)
    assert code == 2 and "Traceback" in told and told.splitlines()[-1] == "error: bad row"
    monkeypatch.setenv("AUBENCH_DEBUG", "0")
    assert "Traceback" not in ends(AubenchError("bad row"), capsys)[1]


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("TQDM_DISABLE", "COLUMNS", "NO_COLOR")}
    return {**kept, **changes}


@pytest.mark.parametrize("words", [["report"], ["report", "--json"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        stdout=writer,
        timeout=300,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


SHELL = [
    ("describe 12 > /dev/full", "error: no space left to write stdout; free some disk\n"),
    ("protocols --json > /dev/full", "error: no space left to write stdout; free some disk\n"),
    ("--help > /dev/full", "error: no space left to write stdout; free some disk\n"),
    ("describe 12 >&-", "error: stdout is closed; send it to a file or to /dev/null\n"),
    ("describe 99 2>&-", ""),
    ("describe 12 >&- 2>&-", ""),
    ("describe $'caf\\xe9'", "error: the name 'caf\\xe9' is not UTF-8; give it another\n"),
]


@pytest.mark.parametrize(("line", "told"), SHELL, ids=[line for line, _ in SHELL])
def test_a_full_or_closed_stdout_and_a_foreign_name_end_in_one_line(tmp_path, line, told):
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {line}', sys.executable, MAIN],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr, done.stdout) == (2, told, "")


def test_a_working_folder_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, told = ends(AssertionError("never reached"), capsys)
    assert (code, told) == (2, "error: the working folder is gone; change to another\n")


def test_a_broken_pipe_elsewhere_is_not_hidden(capsys):
    code, told = ends(ValueError("x"), capsys)
    assert code == 70
    code, told = ends(BrokenPipeError("a worker died"), capsys)  # no errno: not ours to swallow
    assert code == 70 and "a worker died" in told


def test_ctrl_c_in_a_run(stranger_site, tmp_path):
    words = "run --model stranger --protocol label-input --limit 6 --metrics pixels"
    run = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(stranger_site), STRANGER_SLEEP="60"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background
    )
    told = ""
    for line in run.stderr:
        told += line
        if line.startswith("generate"):
            break
    assert "generate" in told, told
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 130, told + err
    assert err.strip().splitlines()[-1] == "interrupted; the same command resumes"
    assert out == "" and "Traceback" not in told + err


@pytest.mark.parametrize(
    "words",
    [
        "run --model stranger --protocol label-input --limit 6 --metrics pixels",
        "export-prompts --protocol conflict --limit 2",
    ],
)
def test_progress_goes_to_stderr_in_whole_lines(words, stranger_site, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
        env=environment(PYTHONPATH=str(stranger_site)),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+%\|", done.stderr)
    assert "\r" not in done.stderr and ESCAPE not in done.stderr
    assert done.stdout.strip() and not re.search(r"%\||it/s", done.stdout)


def in_terminal(**changes):
    """Return what a table prints to a terminal of 100 columns."""
    code = "import sys; from aubench.cli.main import main; main(['report', '--table', '6'])"
    leader, follower = pty.openpty()
    terminal = {"COLUMNS": "100", "TERM": "xterm-256color"}
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=follower,
        stderr=follower,
        env=environment(**terminal, **changes),
    )
    os.close(follower)
    told = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    assert run.wait(timeout=300) == 0
    os.close(leader)
    return told.decode()


def test_colours_are_for_terminals_that_want_them():
    assert ESCAPE in in_terminal()
    plain = in_terminal(NO_COLOR="1")
    assert ESCAPE not in plain and "Table 6" in plain


def test_force_color_colours_a_pipe_and_no_color_wins(monkeypatch, capsys):
    grid = Grid(("a", "b"), [("x", "1")], "title")

    def shown():
        print_grid(grid)
        return capsys.readouterr().out

    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert ESCAPE not in shown()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESCAPE in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in shown()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_boards_fit_the_terminal_without_cutting_a_number(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    records = boards("synfacs", "unseen")["unseen"]
    print_board("unseen", records)
    text = capsys.readouterr().out
    lines = [line.rstrip() for line in text.splitlines()]
    assert "…" not in text
    if width >= 80:
        assert max(map(len, lines)) <= width
    for record in records:
        own = [line for line in lines if line.startswith(record.model.name)]
        for metric in headline():
            row = record.score(metric)
            if row is not None and row.value is not None:
                assert any(format_score(row) in line for line in own), (record.model.name, metric)


def test_in_a_pipe_a_row_is_a_line(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == WIDE
    records = boards("synfacs", "unseen")["unseen"]
    print_board("unseen", records)
    lines = capsys.readouterr().out.splitlines()
    for record in records:
        (line,) = (line for line in lines if line.startswith(record.model.name))
        assert all(format_score(record.score(m)) in line for m in ("fid", "kid", "au_f1"))


def test_any_table_keeps_every_cell(monkeypatch, capsys):
    draw = np.random.default_rng(7)
    for _ in range(40):
        width, columns = int(draw.integers(20, 140)), int(draw.integers(2, 12))
        monkeypatch.setenv("COLUMNS", str(width))
        rows = [
            [f"row{i}", *(f"{i}.{j}" + "7" * int(draw.integers(0, 18)) for j in range(1, columns))]
            for i in range(5)
        ]
        heads = ["name", *("head " * int(draw.integers(1, 5)) for _ in range(1, columns))]
        print_grid(Grid(heads, [["a section"], *rows], "title"))
        lines = capsys.readouterr().out.splitlines()
        for row in rows:
            own = " ".join(line for line in lines if line.startswith(row[0])).split()
            assert [cell for cell in own if cell != row[0]] == row[1:]
        widest = max(len(cell) for row in rows for cell in row)
        if widest + len("a section") + 2 <= width:
            assert max(len(line.rstrip()) for line in lines) <= width


def test_columns_of_one_metric_are_told_apart_by_what_differs():
    text = "aaad|nano-a@1|target=text-nano@9|ref=synfacs-1.0/unseen|n=2000"
    labels = "aaad|nano-a@1|target=labels|ref=synfacs-1.0/unseen|n=2000"
    fewer = "aaad|nano-a@1|target=labels|ref=synfacs-1.0/unseen|n=1859"
    assert told_apart([text]) == [""]
    assert told_apart([text, labels]) == ["text-nano", "labels"]
    assert told_apart([text, fewer]) == ["text-nano, n=2000", "labels, n=1859"]
    assert told_apart(["f1|nano-b@1", "f1|nano-b@2"]) == ["nano-b@1", "nano-b@2"]
    assert told_apart(["a|b", "a|b|c"]) == ["a|b", "a|b|c"]


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "run --help",
        "describe 6+12",
        "protocols --json",
        "weights list",
        "completion bash",
        "data list",
    ],
)
def test_light_commands_import_nothing_heavy(words, aubench_home):
    code = (
        "import sys\nfrom aubench.cli.exit_codes import run_to_end\n"
        "from aubench.cli.main import cli\n"
        f"code = run_to_end(cli, {words.split()!r}, 'aubench')\n"
        "heavy = {'torch', 'pandas', 'transformers', 'numba', 'scipy'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def messages():
    """Yield (place, text) of every message given to AubenchError or CheckFailed as it stands."""
    for folder in ("aubench", "reference_model", "baselines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(getattr(node, "func", None), "id", "")
                if name not in ("AubenchError", "CheckFailed") or not node.args:
                    continue
                for part in node.args[:2]:
                    text = _text(part)
                    if text:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _text(node):
    """Return a literal, with ``{}`` where an f-string puts something in; None if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
    return None


NAMES = re.compile(
    r"(AUs?\b|AU\d|AUBENCH|BP4D|DISFA|CUDA|CLIP|FID|KID|PNG|CSV|GPU|T5|ME-Graph|SHA|UniPortrait|"
    r"FineFace|MagicFace|Stable|OUT|FILE|FOLDER|MODEL|NAME|I/N|Ray|[A-Z]\b)"
)
"""What may stand in capitals at the start of a message."""


def test_messages_speak_in_one_voice():
    found = list(messages())
    assert len(found) > 500
    for place, text in found:
        assert not text.endswith((".", "!", ";")) or text.endswith("..."), f"{place}: {text}"
        assert text == text.strip() or "{" in text, f"{place}: {text!r}"
        assert not text[0].isupper() or NAMES.match(text), f"{place}: {text}"
        assert "\n" not in text and "please" not in text.lower(), f"{place}: {text}"

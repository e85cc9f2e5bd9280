"""The fenced blocks of the documents, and what they hold: commands, Python, data.

A block is run. ``<!-- not run: reason -->`` on the line above it (an empty line may lie between)
leaves it out; its commands are then parsed by the real click commands, its Python is compiled.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import click

from aubench.errors import AubenchError as AubenchError

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
)
FENCE = re.compile(r"^( *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^\1```[ ]*$", re.M | re.S)
REASON = re.compile(r"<!-- not run: (?P<reason>[^>]*?) -->\s*\Z")
INLINE = re.compile(r"`(aubench [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and why it is not run, if so."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        """Return where to look, as ``page:line``."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Return the command lines; a line that ends with a backslash goes on."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        reason = REASON.search(text[: match.start()])
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start()) + 1,
                language=match["language"],
                text=match["text"],
                reason=reason["reason"].strip() if reason else None,
            )
        )
    return found


def run_line(line: str) -> tuple[int, str]:
    """Run a command line; one that is a single call of aubench runs in this process.

    Returns:
        Exit code, and what was written to stdout and stderr.
    """
    words = shlex.split(line, comments=True)
    if words[0] != "aubench" or re.search(r"[|;&<>$`*]", line.partition(" #")[0]):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr
    from aubench.cli.main import main

    output, code = io.StringIO(), 0
    try:
        with redirect_stdout(output), redirect_stderr(output):
            main(words[1:])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, output.getvalue()


def calls(line: str) -> list[list[str]]:
    """Return the words after ``aubench`` of each call of it in a line of shell."""
    inner = re.findall(r"\$\(([^()]*)\)", line)
    outer = re.sub(r"\$\([^()]*\)", "INNER", line)
    found = []
    for part in (*inner, outer):
        lexer = shlex.shlex(part, posix=True, punctuation_chars=True)
        lexer.commenters, lexer.whitespace_split = "#", True
        found += _split(list(lexer))
    return found


def _split(words: list[str]) -> list[list[str]]:
    """Cut words at ``&&``, ``;`` and pipes; keep what calls aubench, also through a launcher."""
    segments: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("&|;()<>"):
            segments.append([])
        else:
            segments[-1].append(word)
    found = []
    for segment in segments:
        while segment and re.fullmatch(r"[A-Z_]+=\S*", segment[0]):
            segment = segment[1:]
        if segment[:1] in (["accelerate"], ["torchrun"], ["srun"]) and "aubench" in segment:
            segment = segment[segment.index("aubench") :]
        if segment[:1] == ["aubench"]:
            found.append(segment[1:])
    return found


def parse(words: list[str]) -> click.Context:
    """Parse words as ``aubench`` would and return the innermost context; nothing is invoked.

    Raises:
        click.ClickException, aubench.errors.AubenchError: a command, option or value is unknown.
    """
    from aubench.cli.main import cli

    command: click.Command = cli
    context, rest = None, list(words)
    while True:
        if isinstance(command, click.Group) and not rest and not command.invoke_without_command:
            raise click.UsageError("a command is missing", context)
        context = command.make_context(command.name or "aubench", rest, parent=context)
        if not isinstance(command, click.Group):
            return context
        # click 8.2 renamed it.
        held = "_protected_args" if hasattr(context, "_protected_args") else "protected_args"
        rest = [*getattr(context, held), *context.args]
        if not rest:
            if not command.invoke_without_command:
                raise click.UsageError("a command is missing", context)
            return context
        _, inner, rest = command.resolve_command(context, rest)
        assert inner is not None
        command = inner


def inline(page: str) -> list[str]:
    """Return what follows ``aubench`` in each span of code of a page's prose."""
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    spans = (re.split(r"\s\\?\|\s", match[1])[0] for match in INLINE.finditer(text))
    return [" ".join(span.split()[1:]) for span in spans]


def look_up(phrase: str) -> list[str]:
    """Return what a phrase such as ``data build|show --size`` names and no command has.

    Values are not looked at, so that a phrase may hold placeholders.
    """
    from aubench.cli.main import cli

    commands: list[click.Command] = [cli]
    words = phrase.split()
    while words and all(isinstance(command, click.Group) for command in commands):
        names, context = words[0].split("|"), click.Context(cli)
        if names[0].startswith("-") or words[0] in ("COMMAND", "…"):
            break
        known = [set(group.list_commands(context)) for group in commands]  # type: ignore[attr-defined]
        if unknown := [name for name in names if not all(name in some for some in known)]:
            return unknown
        commands = [g.get_command(context, n) for g in commands for n in names]  # type: ignore[attr-defined]
        words = words[1:]
    options = {"--help", "-h", "--version"}
    for command in commands:
        for parameter in command.params:
            options |= {*parameter.opts, *parameter.secondary_opts}
    asked = [re.split(r"[=,.;]", word)[0] for word in words if word.startswith("-")]
    return [word for word in asked if word.strip("-") and word not in options]

"""What the site adds to the pages of docs/: the front matter of the repository, the commands.

README, CONTRIBUTING, CHANGELOG and the leaderboards become pages, so that each is written once;
the page of commands is what ``--help`` says.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import click

ROOT = Path(__file__).parents[2]
COPIES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "leaderboards/README.md": "project/leaderboards.md",
}
LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<to>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for source, page in COPIES.items():
        text = relinked((ROOT / source).read_text(encoding="utf-8"), source, page)
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def relinked(text: str, source: str, page: str) -> str:
    """Return the text with its links as seen from the page; what the site lacks loses its link."""

    def target(match: re.Match[str]) -> str:
        if "://" in match["to"]:
            return match[0]
        place = normpath(str(PurePosixPath(source).parent / match["to"]))
        if place in COPIES:
            place = COPIES[place]
        elif place.startswith("docs/"):
            place = place.removeprefix("docs/")
        else:
            return match["words"]
        seen = relpath(place, str(PurePosixPath(page).parent))
        return f"{match['picture']}[{match['words']}]({seen}{match['anchor'] or ''})"

    return LINK.sub(target, text)


def commands_page() -> str:
    """Return the page of all commands, a section a command, options as a table."""
    from aubench.cli.main import COMMANDS, cli

    lines = [
        "# Commands",
        "",
        "What `aubench COMMAND --help` says of each, from the installed version.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#aubench-{name}) | {what} |" for name, (_, what) in COMMANDS.items()),
        "",
    ]
    top = click.Context(cli, info_name="aubench")
    for name in COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        lines += _section(command, click.Context(command, info_name=name, parent=top), depth=2)
    return "\n".join(lines)


def _section(command: click.Command, context: click.Context, depth: int) -> list[str]:
    lines = [f"{'#' * depth} {context.command_path}", ""]
    lines += [_escape(_paragraphs(command.help or "")), "", "```text"]
    lines += [" ".join([context.command_path, *command.collect_usage_pieces(context)]), "```", ""]
    rows = [record for record in map(_row(context), command.get_params(context)) if record]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{option}` | {_escape(meaning)} |" for option, meaning in rows] + [""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            child = click.Context(inner, info_name=name, parent=context)
            lines += _section(inner, child, depth + 1)
    return lines


def _row(context: click.Context) -> Any:
    def row(parameter: click.Parameter) -> tuple[str, str] | None:
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            return None
        return record[0].replace("|", "\\|"), record[1]

    return row


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")

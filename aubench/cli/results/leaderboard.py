"""``aubench leaderboard``: the records as a site and as a page in Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results, written

FOLDER = click.option(
    "--leaderboards", "folder", type=click.Path(path_type=Path), help="Folder of the records."
)


@click.group()
def leaderboard() -> None:
    """Make a site or a page of the records."""


@leaderboard.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the site.")
@FOLDER
@results
def build(out: Path, folder: Path | None) -> Result:
    """Write a static site that opens from disk; a former one in --out is replaced."""
    from aubench.report.leaderboards.site import build as write

    pages = write(out, folder)
    return written(*pages, line=f"wrote {len(pages)} pages; open {pages[0]}")


@leaderboard.command()
@click.option("--check", is_flag=True, help="Only say whether it is current; exit code 1 if not.")
@FOLDER
@results
def readme(check: bool, folder: Path | None) -> Result:
    """Write leaderboards/README.md anew."""
    from aubench.report.leaderboards.readme import NAME, generate, write_readme
    from aubench.report.places import entry

    if not check:
        return written(write_readme(folder))
    path = entry(folder) / NAME
    if path.is_file() and path.read_text(encoding="utf-8") == generate(folder):
        return written(path, line=f"{path} is current", current=True)
    return Result(
        {"files": [str(path)], "current": False},
        lambda: None,
        failure=f"{path} is not current; `aubench leaderboard readme` writes it anew",
    )

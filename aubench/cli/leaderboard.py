"""``aubench leaderboard``: the records as a site and as a page in Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.errors import AubenchError

FOLDER = click.option(
    "--leaderboards", "folder", type=click.Path(path_type=Path), help="Folder of the records."
)


@click.group()
def leaderboard() -> None:
    """Make a site or a page of the records."""


@leaderboard.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the site.")
@FOLDER
def build(out: Path, folder: Path | None) -> None:
    """Write a static site that opens from disk; a former one in --out is replaced."""
    from aubench.report.site import build as write

    pages = write(out, folder)
    click.echo(f"wrote {len(pages)} pages; open {pages[0]}")


@leaderboard.command()
@click.option("--check", is_flag=True, help="Only say whether it is current; exit 2 if not.")
@FOLDER
def readme(check: bool, folder: Path | None) -> None:
    """Write leaderboards/README.md anew."""
    from aubench.files import shipped
    from aubench.report.readme import NAME, generate, write_readme

    if not check:
        click.echo(f"wrote {write_readme(folder)}")
        return
    path = (folder or shipped("leaderboards")) / NAME
    if not path.is_file() or path.read_text(encoding="utf-8") != generate(folder):
        raise AubenchError(f"{path} is not current", "`aubench leaderboard readme` writes it anew")
    click.echo(f"{path} is current")

"""``aubench view``: a page to look at the samples of runs."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results, written


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder. [runs/view-PROTOCOL-MODELS]")
@click.option("--limit", type=click.IntRange(1), help="Show so many samples, spread evenly.")
@click.option(
    "--restricted-faces",
    is_flag=True,
    help="Also write faces of a data set whose images must stay on your machines.",
)
@click.option("--serve", is_flag=True, help="Serve the page on the loopback address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any free one",
    help="Of --serve.",
)
@results
def view(
    runs: tuple[Path, ...],
    out: Path | None,
    limit: int | None,
    restricted_faces: bool,
    serve: bool,
    port: int,
) -> Result:
    """Write a page to look at the samples of RUNS, finished run folders of the same samples.

    Reference, target and generated faces side by side, what each reader of AUs sees in them, points
    of the face and their motion; sorted by the worst AU skill. It opens from disk; a former page in
    --out is replaced.
    """
    from aubench.comparison.runs import open_run
    from aubench.report.viewer import site
    from aubench.report.viewer.contents import contents

    opened = [open_run(path) for path in runs]
    found = contents(opened, limit)
    names = "-".join(run.name for run in opened)
    folder = out or Path("runs") / f"view-{opened[0].protocol.name}-{names}"
    page = site.write_viewer(folder, found, restricted_faces=restricted_faces)
    if serve:
        site.serve(folder, port)
    count = len(found.rows)
    return written(
        page,
        line=f"{count} sample{'s' * (count > 1)}; open {page.resolve().as_uri()}",
        samples=count,
    )

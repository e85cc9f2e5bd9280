"""``aubench demo``: what the numbers mean, in a minute."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results

MODELS = ("vqauface", "ganimation")
CONTROLS = ("oracle", "copy-reference", "decals")
PROTOCOL = "unseen"


MARK = ".aubench-demo"


def _claim(out: Path) -> None:
    """Mark the folder as the demo's, so that nothing is written among other things.

    Raises:
        AubenchError: It holds something else.
    """
    from aubench.errors import AubenchError
    from aubench.storage.files import write_text

    mark = out / MARK
    if out.exists() and not mark.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise AubenchError(f"{out} holds files of something else", "choose another --out")
    write_text(mark, "made by `aubench demo`\n")


@click.command()
@click.option(
    "--samples", type=click.IntRange(6, 200), default=24, show_default=True, help="How many."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs") / "demo",
    show_default=True,
    help="Folder of the runs and of the page.",
)
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser.")
@results
def demo(samples: int, out: Path, opened: bool) -> Result:
    """Run two models and three controls on a few samples; say in five lines what it comes to.

    Leaves a page to look at the faces.
    """
    from aubench.cli.metric_choice import metrics_of
    from aubench.comparison.runs import open_run
    from aubench.datasets import DEFAULT_DATASET
    from aubench.report.tables.in_words import copying_in_words
    from aubench.report.tables.terminal import LEADING
    from aubench.report.viewer.contents import contents
    from aubench.report.viewer.site import write_viewer
    from aubench.run.execute import RunConfig, execute

    _claim(out)
    metrics = (*metrics_of("quick", None, PROTOCOL, DEFAULT_DATASET), "pixels")
    records = {}
    for name in (*CONTROLS, *MODELS):
        records[name] = execute(
            RunConfig(name, PROTOCOL, out / name, limit=samples, metrics=metrics)
        )

    def skill(name: str) -> float:
        row = records[name].score(LEADING)
        return -1.0 if row is None or row.value is None else row.value

    best = sorted(MODELS, key=skill, reverse=True)
    lines = copying_in_words(records, best)
    shown = [open_run(out / name) for name in (*best, "decals")]
    page = write_viewer(out / "page", contents(shown))
    if opened:
        click.launch(page.resolve().as_uri())

    def show() -> None:
        for number, line in enumerate(lines, 1):
            click.echo(f"{number}. {line}")
        click.echo(f"\nlook at the faces: {page.resolve().as_uri()}")

    return Result({"files": [page], "lines": lines}, show)

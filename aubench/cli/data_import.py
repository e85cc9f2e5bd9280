"""``aubench data import``, ``list`` and ``text``: the researcher's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.datasets.sequences import Fault

KINDS = click.Choice(["bp4d", "bp4dplus", "disfa", "folder"])


@click.command("import")
@click.argument("kind", type=KINDS)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", help="Of the data set.  [default: KIND; needed for a folder]")
@click.option("--align", type=click.Choice(["mtcnn", "landmarks", "none"]), default=None,
              help="Find the face, take given landmarks, or take square images as they are."
              "  [default: mtcnn]")  # fmt: skip
@click.option("--landmarks", type=click.Path(path_type=Path, file_okay=False),
              help="Folder with F001_T1.csv: frame, x, y of 5, 49, 66 or 68 points.")  # fmt: skip
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the reference faces.")
@click.option("--camera", type=click.Choice(["left", "right", "both"]), default="left",
              show_default=True, help="Of DISFA.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0.5, 5), default=2.0, show_default=True,
              help="Least intensity of an active AU of DISFA.")  # fmt: skip
@click.option("--columns", help="AUs of AU_OCC files without header, such as 1,2,4,6,7.")
@click.option("--mismatched", is_flag=True, help="Take sequences known not to match their codes.")
@click.option("--free", is_flag=True, help="A folder's images may be shown to anyone.")
@click.option("--dry-run", is_flag=True, help="Read codes, print counts, open no image.")
@click.option("--fresh", is_flag=True, help="Remove an earlier import of this name first.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; one a core if not given.")
@click.option("--device", default="cpu", show_default=True, help="Of the face finder.")
@results
def import_(
    kind: str, source: Path, name: str | None, align: str | None, landmarks: Path | None,
    size: int, seed: int, camera: str, threshold: float, columns: str | None, mismatched: bool,
    free: bool, dry_run: bool, fresh: bool, workers: int | None, device: str,
) -> Result:  # fmt: skip
    """Read BP4D, BP4D+ or DISFA as distributed, or a CSV of images, into aligned faces.

    Takes frames with at least one active AU, and a face without any for each person. Interrupt it
    freely; the same command goes on, and does only what is new.
    """
    from aubench.datasets.crop_jobs import Cropping
    from aubench.datasets.imports import counts_of, import_found, remove
    from aubench.datasets.readers import Reading, asked_for, published, read_source
    from aubench.errors import AubenchError

    if kind == "folder" and name is None:
        raise AubenchError("a folder needs a name", "--name mine")
    if (landmarks is not None) != (align == "landmarks") and (landmarks is None or align):
        raise AubenchError("--landmarks DIR and --align landmarks belong together")
    if free and kind != "folder":
        raise AubenchError(f"{kind} is under an agreement; --free is for folders")
    if align in (None, "mtcnn") and landmarks is None and not dry_run:
        from aubench.engine.job import check_device

        check_device(device)
    align = align or ("landmarks" if landmarks else "mtcnn")
    how = Reading(_aus(columns), mismatched, camera, threshold, landmarks, free)
    asked = asked_for(kind, name or kind, how, Cropping(align, size, device), seed, workers)
    found = read_source(kind, source, how)
    if dry_run:
        counts, told = counts_of(found), published(kind)
        _print_faults(found.faults)
        data = {"name": asked.name, "imported": False, "counts": counts, "published": told,
                "faults": len(found.faults)}  # fmt: skip
        return Result(data, lambda: _print_counts(counts, told))
    if fresh:
        remove(asked.name)
    record = import_found(asked, found)
    faults, lacking = _faults(asked.name), _lacking(asked.name)
    data = {"name": asked.name, "imported": True, "counts": record.counts,
            "published": record.published, "faults": faults, "uncoded": lacking}  # fmt: skip

    def show() -> None:
        _print_counts(record.counts, record.published)
        _print_next(asked.name, lacking)

    return Result(data, show)


def _aus(columns: str | None) -> tuple[int, ...] | None:
    from aubench.errors import AubenchError

    if columns is None:
        return None
    try:
        return tuple(int(word) for word in columns.upper().replace("AU", "").split(","))
    except ValueError as error:
        raise AubenchError(f"--columns {columns} are no AU numbers", "1,2,4,6,7") from error


def _print_counts(counts: dict[str, int], published: dict[str, int]) -> None:
    click.echo(f"{'':28}{'found':>10}{'published':>12}" if published else f"{'':28}{'found':>10}")
    for what in dict.fromkeys([*counts, *published]):
        told = f"{published[what]:>12,}" if what in published else ""
        click.echo(f"{what:28}{counts.get(what, 0):>10,}{told}")


def _print_faults(faults: tuple[Fault, ...]) -> None:
    for fault in faults[:20]:
        click.echo(f"{fault.kind}: {fault.where} {fault.detail}".rstrip(), err=True)
    if len(faults) > 20:
        click.echo(f"and {len(faults) - 20} more", err=True)


def _faults(name: str) -> int:
    """Say how many faults of each kind an import met; return how many there were."""
    import csv
    from collections import Counter

    from aubench.datasets.imported import FAULTS, folder_of

    path = folder_of(name) / FAULTS
    with path.open(newline="", encoding="utf-8") as stream:
        kinds = Counter(row["kind"] for row in csv.DictReader(stream))
    for kind, count in kinds.most_common():
        click.echo(f"  {kind}: {count}", err=True)
    if kinds:
        click.echo(f"faults are listed in {path}", err=True)
    return kinds.total()


def _lacking(name: str) -> list[int]:
    from aubench.datasets.imported import read_record
    from aubench.facs import AUS

    return [au for au in AUS if au not in read_record(name).coded]


def _print_next(name: str, lacking: list[int]) -> None:
    if lacking:
        click.echo(f"imported '{name}'; it does not code AU{', AU'.join(map(str, lacking))}, "
                   "so no protocol can be frozen from it")  # fmt: skip
    else:
        click.echo(f"imported '{name}'; next: aubench protocol freeze test2k --data {name}")


@click.command("list")
@results
def list_() -> Result:
    """List the imported data sets."""
    from aubench.datasets.imported import folder_of, imported_names, read_record

    rows = []
    for name in imported_names():
        record = read_record(name)
        rows.append({"name": name, "kind": record.kind, "faces": record.counts.get("faces", 0),
                     "restricted": record.restricted, "folder": folder_of(name)})  # fmt: skip
    return Result(rows, lambda: _print_sets(rows))


def _print_sets(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        lock = "restricted" if row["restricted"] else "free"
        click.echo(f"{row['name']:14} {row['kind']:9} {row['faces']:>8,} faces  "
                   f"{lock:10} {row['folder']}")  # fmt: skip
    if not rows:
        click.echo("none; `aubench data import` brings one in", err=True)


@click.command()
@click.argument("names", shell_complete=complete.dataset, nargs=-1, required=True)
@click.option("--as", "joint", help="Name of the joint set.  [default: bp4d-autext]")
@click.option("--seed", type=int, default=2020, show_default=True, help="Draws the wordings.")
@results
def text(names: tuple[str, ...], joint: str | None, seed: int) -> Result:
    """Attach a description to every face; several sets, such as bp4d bp4dplus, become one.

    Writes text.parquet and statistics.json (Table 1, Figure 2) beside the import.
    """
    from aubench.datasets.autext import attach_text, join

    name = join(names, joint or "bp4d-autext") if len(names) > 1 else names[0]
    statistics = attach_text(name, seed)
    return Result({"name": name, **statistics}, lambda: _print_text(name, statistics))


def _print_text(name: str, statistics: dict[str, Any]) -> None:
    images, length = statistics["images"], statistics["words"]
    click.echo(f"{name}: {images:,} faces, {statistics['texts']:,} texts of "
               f"{length['min']} to {length['max']} words")  # fmt: skip
    conflicts = statistics["conflicts"]
    click.echo(f"conflicting AUs in {conflicts['images']:,} ({conflicts['share']:.1%}), "
               f"{conflicts['occurrences']:,} occurrences")  # fmt: skip
    for what, number in statistics["paper"].items():
        click.echo(f"paper: {number:,} {what}")
    click.echo(f"wrote {statistics['path']}")

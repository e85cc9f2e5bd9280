"""``aubench data import``, ``list`` and ``text``: the researcher's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli.options import gather_options
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.datasets.importing.crop_jobs import Cropping
    from aubench.datasets.readers.landmarks import Landmarks
    from aubench.datasets.readers.reader import Reader
    from aubench.datasets.readers.sequences import Fault

KINDS = click.Choice(["bp4d", "bp4dplus", "disfa", "folder"])


@dataclass(frozen=True)
class ReaderOptions:
    """Options that say how codes and images are read."""

    camera: str
    threshold: float
    columns: str | None
    mismatched: bool
    free: bool
    landmarks: Path | None

    def reader(self, kind: str) -> Reader:
        """Return the reader of a kind of data; options of other kinds are ignored.

        Raises:
            AubenchError: ``--columns`` holds no AU numbers, ``--free`` is no choice.
        """
        from aubench.datasets.readers.bp4d import BP4DReader
        from aubench.datasets.readers.disfa import DISFAReader
        from aubench.datasets.readers.folder import FolderReader
        from aubench.errors import AubenchError

        if kind == "folder":
            return FolderReader(self.free)
        if self.free:
            raise AubenchError(f"{kind} is under an agreement; --free is for folders")
        if kind == "disfa":
            return DISFAReader(self.camera, self.threshold)
        return BP4DReader(kind, _aus(self.columns), self.mismatched)

    def points(self) -> Landmarks | None:
        """Return the landmarks that are given.

        Raises:
            AubenchError: The folder holds none.
        """
        from aubench.datasets.readers.landmarks import Landmarks

        return Landmarks(self.landmarks) if self.landmarks else None


@dataclass(frozen=True)
class CropOptions:
    """Options that say how faces are cut, and by how many processes."""

    align: str | None
    size: int
    device: str
    seed: int
    workers: int | None

    def cropping(self, landmarks: Path | None, *, dry_run: bool) -> Cropping:
        """Return how faces are cut.

        Raises:
            AubenchError: Options that do not belong together, or a device that torch cannot use.
        """
        from aubench.datasets.face_finders import DEFAULT_FINDER, GROUP
        from aubench.datasets.importing.crop_jobs import GIVEN, Cropping
        from aubench.errors import AubenchError

        align = self.align
        if (landmarks is not None) != (align == "landmarks") and (landmarks is None or align):
            raise AubenchError("--landmarks DIR and --align landmarks belong together")
        way = align or ("landmarks" if landmarks else DEFAULT_FINDER)
        if way not in GIVEN:
            GROUP.point(way)  # an unknown name is refused, none is loaded
            if not dry_run:
                from aubench.run.config import check_device

                check_device(self.device)
        return Cropping(way, self.size, self.device)


@click.command("import")
@click.argument("kind", type=KINDS)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", help="Of the data set.  [default: KIND; needed for a folder]")
@click.option(
    "--align",
    metavar="NAME",
    help="Finder of faces (mp-face, mtcnn), landmarks for given ones, or none for square images as "
    "they are.  [default: mp-face]",
)
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with F001_T1.csv: frame, x, y of 5, 49, 66 or 68 points.",
)
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the reference faces.")
@click.option(
    "--camera",
    type=click.Choice(["left", "right", "both"]),
    default="left",
    show_default=True,
    help="Of DISFA.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0.5, 5),
    default=2.0,
    show_default=True,
    help="Least intensity of an active AU of DISFA.",
)
@click.option("--columns", help="AUs of AU_OCC files without header, such as 1,2,4,6,7.")
@click.option("--mismatched", is_flag=True, help="Take sequences known not to match their codes.")
@click.option("--free", is_flag=True, help="A folder's images may be shown to anyone.")
@click.option("--dry-run", is_flag=True, help="Read codes, print counts, open no image.")
@click.option("--fresh", is_flag=True, help="Remove an earlier import of this name first.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; one a core if not given.")
@click.option("--device", default="cpu", show_default=True, help="Of the face finder.")
@results
@gather_options(ReaderOptions, "options")
@gather_options(CropOptions, "crops")
def import_(
    kind: str,
    source: Path,
    name: str | None,
    options: ReaderOptions,
    crops: CropOptions,
    dry_run: bool,
    fresh: bool,
) -> Result:
    """Read BP4D, BP4D+ or DISFA as distributed, or a CSV of images, into aligned faces.

    Takes frames with at least one active AU, and a face without any for each person. Interrupt it
    freely; the same command goes on, and does only what is new.
    """
    from aubench.datasets.importing.import_dataset import (
        ImportRequest,
        counts_of,
        import_found,
        remove,
    )
    from aubench.errors import AubenchError

    if kind == "folder" and name is None:
        raise AubenchError("a folder needs a name", "--name mine")
    cropping = crops.cropping(options.landmarks, dry_run=dry_run)
    reader = options.reader(kind)
    request = ImportRequest(
        name or kind, reader, cropping, crops.seed, crops.workers, options.points()
    )
    request.check()
    found = reader.read(source)
    if dry_run:
        counts, public = counts_of(found), dict(reader.published)
        _print_faults(found.faults)
        data = {
            "name": request.name,
            "imported": False,
            "counts": counts,
            "published": public,
            "faults": len(found.faults),
        }
        return Result(data, lambda: _print_counts(counts, public))
    if fresh:
        remove(request.name)
    record = import_found(request, found)
    faults, lacking = _faults(request.name), _lacking(request.name)
    data = {
        "name": request.name,
        "imported": True,
        "counts": record.counts,
        "published": record.published,
        "faults": faults,
        "uncoded": lacking,
    }

    def show() -> None:
        _print_counts(record.counts, record.published)
        _print_next(request.name, lacking)

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
        public = f"{published[what]:>12,}" if what in published else ""
        click.echo(f"{what:28}{counts.get(what, 0):>10,}{public}")


def _print_faults(faults: tuple[Fault, ...]) -> None:
    for fault in faults[:20]:
        click.echo(f"{fault.kind}: {fault.where} {fault.detail}".rstrip(), err=True)
    if len(faults) > 20:
        click.echo(f"and {len(faults) - 20} more", err=True)


def _faults(name: str) -> int:
    """Say how many faults of each kind an import met; return how many there were."""
    import csv
    from collections import Counter

    from aubench.datasets.imported.files import FAULTS, folder_of

    path = folder_of(name) / FAULTS
    with path.open(newline="", encoding="utf-8") as stream:
        kinds = Counter(row["kind"] for row in csv.DictReader(stream))
    for kind, count in kinds.most_common():
        click.echo(f"  {kind}: {count}", err=True)
    if kinds:
        click.echo(f"faults are listed in {path}", err=True)
    return kinds.total()


def _lacking(name: str) -> list[int]:
    from aubench.datasets.imported.files import read_record
    from aubench.facs import AUS

    return [au for au in AUS if au not in read_record(name).coded]


def _print_next(name: str, lacking: list[int]) -> None:
    if lacking:
        click.echo(
            f"imported '{name}'; it does not code AU{', AU'.join(map(str, lacking))}, "
            "so no protocol can be frozen from it"
        )
    else:
        click.echo(f"imported '{name}'; next: aubench protocol freeze test2k --data {name}")


@click.command("list")
@results
def list_() -> Result:
    """List the imported data sets, and those of installed packages."""
    from aubench.datasets.imported.files import folder_of, imported_names, read_record

    rows = []
    for name in imported_names():
        record = read_record(name)
        rows.append(
            {
                "name": name,
                "kind": record.kind,
                "faces": record.counts.get("faces", 0),
                "restricted": record.restricted,
                "folder": folder_of(name),
            }
        )
    rows += _installed_sets()
    return Result(rows, lambda: _print_sets(rows))


def _installed_sets() -> list[dict[str, Any]]:
    """Return a row for each data set that another package brings; a broken one has a reason."""
    from aubench.datasets import DEFAULT_DATASET
    from aubench.datasets.dataset import GROUP
    from aubench.datasets.registry import find_dataset
    from aubench.errors import AubenchError

    rows = []
    for name in GROUP.names():
        if name == DEFAULT_DATASET:
            continue
        row: dict[str, Any] = {
            "name": name,
            "kind": "installed",
            "faces": 0,
            "restricted": True,
            "folder": None,
            "reason": None,
        }
        try:
            source = find_dataset(name)
            with GROUP.calling(name, "being counted"):
                row |= {"restricted": source.restricted, "faces": sum(source.counts.values())}
        except AubenchError as error:
            row["reason"] = str(error)
        rows.append(row)
    return rows


def _print_sets(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row.get("reason"):
            click.echo(f"{row['name']:14} unavailable: {row['reason']}")
            continue
        lock = "restricted" if row["restricted"] else "free"
        click.echo(
            f"{row['name']:14} {row['kind']:9} {row['faces']:>8,} faces  "
            f"{lock:10} {row['folder'] or ''}".rstrip()
        )
    if not rows:
        click.echo("none; `aubench data import` brings one in", err=True)

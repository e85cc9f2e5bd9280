"""A submission: record, ledger, features and thumbnails of a run, with checksums.

Wide rows (features, logits) are kept in fp16, narrow ones and points of faces in full, so
that AAAD, F1 and LPIPS can be recomputed to the last digit and only distances of distributions
feel the rounding. Embeddings of real faces are left out: they would tell who was photographed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.comparison.runs import Run
from aubench.errors import AubenchError
from aubench.records.record import Record, read_record
from aubench.storage.files import atomic_path, sha256_file, write_text
from aubench.storage.run_folder import RunFolder

SCHEMA = 1
SUMS, ABOUT, LEDGER = "SHA256SUMS", "bundle.json", "samples.csv"
ROWS = 500
"""Rows of a feature shard."""
WIDE = 64
"""Arrays of at least this many columns are rounded to fp16."""
SIDE, ACROSS = 64, 10
"""Side of a thumbnail, and how many across and down a sheet of them."""
PRIVATE = ("nano-id", "facenet", "arcface", "dlib", "mp-face")
"""Networks whose features tell who was photographed, by how their names begin."""


def write_bundle(run: Run, out: Path, *, limited: bool = False) -> Path:
    """Write the bundle of a finished run; return its folder.

    Raises:
        AubenchError: The run was limited, its features are gone, or the folder holds files.
    """
    if run.record.counts.limited and not limited:
        raise AubenchError(
            f"{run.folder.path} is a run with --limit",
            "leaderboards take whole protocols; --limited makes a bundle to try out",
        )
    if out.exists() and any(out.iterdir()):
        raise AubenchError(f"{out} is not empty", "choose another --out")
    made = [name for name in run.ids if name not in run.folder.failures]
    shards = _write_features(run, out / "features", len(made))
    if not shards:
        raise AubenchError(f"{run.folder.path} holds no features", "run it again")
    _write_thumbnails(run, out / "thumbnails", made)
    write_text(out / LEDGER, _ledger(run))
    write_text(out / "record.json", run.record.model_dump_json(indent=1) + "\n")
    about = {
        "schema": SCHEMA,
        "model": run.name,
        "protocol": run.protocol.name,
        "dataset": run.protocol.dataset,
        "rows a shard": ROWS,
        "features": shards,
        "thumbnail side": SIDE,
        "thumbnails across": ACROSS,
    }
    write_text(out / ABOUT, json.dumps(about, indent=1) + "\n")
    write_sums(out)
    return out


def write_sums(folder: Path) -> None:
    """Write the checksums of every file of a bundle."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / SUMS, "".join(lines))


def _ledger(run: Run) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["sample_id", "pixels_sha256", "failed"])
    for name in run.ids:
        failed = run.folder.failures.get(name, "")
        writer.writerow([name, "" if failed else run.folder.digests[name], failed])
    return out.getvalue()


def _write_features(run: Run, folder: Path, rows: int) -> dict[str, int]:
    """Write shards of every file of features; return how many each has."""
    from safetensors.numpy import save_file

    from aubench.datasets.registry import named_dataset
    from aubench.evaluate.feature_cache import read_whole

    found, private = {}, named_dataset(run.protocol.dataset).private_features
    for path in sorted((run.folder.path / "features").glob("*.safetensors")):
        if private and path.stem.startswith(PRIVATE):
            continue
        whole = read_whole(path)
        if whole is None:
            raise AubenchError(f"{path} is damaged", "run the model again")
        key, arrays = whole
        if any(len(array) != rows for array in arrays.values()):
            continue  # of another state of the run; nothing reads it
        for k, start in enumerate(range(0, rows, ROWS)):
            part = {
                n: np.ascontiguousarray(_small(a[start : start + ROWS])) for n, a in arrays.items()
            }
            with atomic_path(folder / f"{path.stem}.{k:03d}.safetensors") as temporary:
                save_file(part, temporary, metadata={"key": key})
        found[path.stem] = -(-rows // ROWS)
    return found


def _small(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wide = array.ndim == 2 and array.shape[1] >= WIDE and array.dtype == np.float32
    return array.astype(np.float16) if wide else array


def as_kept(arrays: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return arrays float32 as they come out of a bundle: wide ones have been rounded to fp16."""
    return {name: _small(array).astype(np.float32) for name, array in arrays.items()}


def thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return uint8 [64, 64, 3] of uint8 [H, W, 3]."""
    from PIL import Image

    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.uint8)


def _write_thumbnails(run: Run, folder: Path, made: Sequence[str]) -> None:
    from PIL import Image

    each = ACROSS * ACROSS
    for k, start in enumerate(range(0, len(made), each)):
        sheet = np.zeros((ACROSS * SIDE, ACROSS * SIDE, 3), np.uint8)
        for i, name in enumerate(made[start : start + each]):
            sheet[_place(i)] = thumbnail(run.folder.read(name))
        with atomic_path(folder / f"{k:03d}.webp") as temporary:
            Image.fromarray(sheet).save(temporary, format="WEBP", quality=85)


def _place(i: int) -> tuple[slice, slice]:
    top, left = divmod(i, ACROSS)
    return (
        slice(top * SIDE, (top + 1) * SIDE),
        slice(left * SIDE, (left + 1) * SIDE),
    )


@dataclass(frozen=True)
class Bundle:
    """A bundle as read.

    Attributes:
        digests: Digests of the pixels of each generated sample.
        failures: Reason of each failed one.
        ids: All sample ids, in order.
    """

    path: Path
    record: Record
    ids: list[str]
    digests: dict[str, str]
    failures: dict[str, str]

    @property
    def made(self) -> list[str]:
        """Ids of the generated samples, in the order of the rows of features."""
        return [name for name in self.ids if name not in self.failures]

    def networks(self) -> list[str]:
        """Return the names of the files of features."""
        found = (self.path / "features").glob("*.safetensors")
        return sorted({path.name.rsplit(".", 2)[0] for path in found})

    def features(self, network: str) -> tuple[str, dict[str, npt.NDArray[np.float32]]]:
        """Return the key and the arrays of a network, float32, shards joined.

        Raises:
            AubenchError: A shard is missing, damaged, or of another key.
        """
        from safetensors import SafetensorError, safe_open

        parts: dict[str, list[npt.NDArray[np.float32]]] = {}
        keys = set()
        for path in sorted((self.path / "features").glob(f"{network}.[0-9]*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as stream:
                    keys.add((stream.metadata() or {}).get("key", ""))
                    for name in stream.keys():  # noqa: SIM118
                        parts.setdefault(name, []).append(
                            stream.get_tensor(name).astype(np.float32)
                        )
            except (OSError, ValueError, SafetensorError) as error:
                raise AubenchError(f"{path.name} cannot be read: {error}") from error
        arrays = {name: np.concatenate(shards) for name, shards in parts.items()}
        if len(keys) != 1 or any(len(a) != len(self.made) for a in arrays.values()):
            raise AubenchError(f"the features of {network} are not one row a generated sample")
        return keys.pop(), arrays

    def thumbnail(self, sample_id: str) -> npt.NDArray[np.uint8]:
        """Return the thumbnail of a generated sample, uint8 [64, 64, 3].

        Raises:
            AubenchError: Its sheet is missing or damaged.
        """
        from PIL import Image

        k, i = divmod(self.made.index(sample_id), ACROSS * ACROSS)
        path = self.path / "thumbnails" / f"{k:03d}.webp"
        try:
            with Image.open(path, formats=["WEBP"]) as sheet:
                return np.asarray(sheet.convert("RGB"), np.uint8)[_place(i)]
        except (OSError, ValueError) as error:
            raise AubenchError(f"{path.name} of the thumbnails cannot be read") from error

    def unpack(self, folder: Path) -> RunFolder:
        """Write features and ledger as a run folder has them, and return it; it has no images.

        Raises:
            AubenchError: Features are missing or damaged.
        """
        from aubench.evaluate.feature_cache import write_arrays

        for network in self.networks():
            key, arrays = self.features(network)
            write_arrays(folder / "features" / f"{network}.safetensors", key, arrays)
        lines = [json.dumps({"id": name, "sha256": d}) for name, d in self.digests.items()]
        lines += [json.dumps({"id": name, "failed": r}) for name, r in self.failures.items()]
        write_text(folder / "ledger.jsonl", "\n".join(lines) + "\n")
        write_text(folder / "run.json", "{}\n")
        return RunFolder.read_only(folder)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle without checking it.

    Raises:
        AubenchError: It is no bundle, or its ledger or record cannot be read.
    """
    if not (path / ABOUT).is_file():
        raise AubenchError(f"{path} is no bundle: it has no {ABOUT}", "`aubench submit` writes one")
    try:
        with (path / LEDGER).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        ids = [row["sample_id"] for row in rows]
        digests = {row["sample_id"]: row["pixels_sha256"] for row in rows if not row["failed"]}
        failures = {row["sample_id"]: row["failed"] for row in rows if row["failed"]}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise AubenchError(f"{path / LEDGER} cannot be read: {error}") from error
    return Bundle(path, read_record(path / "record.json"), ids, digests, failures)


def changed_files(path: Path) -> list[str]:
    """Return what is wrong with the checksums: files changed, missing, or not covered."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [f"{SUMS} is missing"]
    stated = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {SUMS}
    wrong = [f"{name} is missing" for name in sorted(set(stated) - found)]
    wrong += [f"{name} is not covered by {SUMS}" for name in sorted(found - set(stated))]
    wrong += [
        f"{name} was changed after it was written"
        for name in sorted(found & set(stated))
        if sha256_file(path / name) != stated[name]
    ]
    return wrong

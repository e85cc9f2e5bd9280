"""The run folder: images, a ledger of their digests, and what the run was asked for.

Resume goes by content: a finished image is one whose pixels decode and whose digest is in
the ledger. Every file is written under a temporary name and renamed; the ledger is
append-only. Each of its lines carries a checksum: one that was cut short by a kill or damaged
counts for nothing, and its sample is made again. Images and ledger are forced to the disk at
intervals, ``run.json`` and the record at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.storage.files import (
    append,
    atomic_path,
    home,
    read_checked_png,
    sha256_file,
    sweep,
    sync,
    translate_os_errors,
    write_text,
)
from aubench.storage.folder_lock import locked
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


def pixel_digest(image: Image) -> str:
    """Return sha256 over shape and pixels of uint8 [H, W, 3]; independent of the PNG encoder."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def write_png(path: Path, image: Image) -> None:
    """Write a lossless PNG atomically."""
    from PIL import Image as Pillow

    with atomic_path(path) as temporary:
        Pillow.fromarray(image).save(temporary, format="PNG", compress_level=1)


def read_png(path: Path) -> Image:
    """Decode an RGB PNG to uint8 [H, W, 3]; OSError or ValueError where it is damaged."""
    import numpy as np
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(read_checked_png(path)), formats=["PNG"]) as opened:
        if opened.mode != "RGB":
            raise ValueError(f"mode {opened.mode}")
        return np.asarray(opened, dtype=np.uint8)


SHARDS = "shards"
"""Below a run folder: those of its shards, each with a lock and a writer of its own."""

WRITTEN = frozenset(
    {
        "run.json",
        "ledger.jsonl",
        "images",
        "features",
        "parts",
        "samples.parquet",
        "costs.json",
        "weights.sha256",
        "generator.json",
        "detectors.txt",
        "shard.json",
        "record.json",
        "record.sha256",
        "grid.png",
        "leakage.csv",
        "memorised.png",
        SHARDS,
    }
)
"""All that a run writes into its folder: what ``--fresh`` may remove."""

SYNC_SECONDS = 5.0
"""How much of the work of a run a power cut may take."""

STATES = ("sha256", "failed", "unsupported")
"""What a line of the ledger tells of a sample, one of them."""


CODE = "code"
"""What a run states of the code that makes its images, and each line of the ledger of its image."""


def ledger_line(row: dict[str, str]) -> str:
    """Return a line of the ledger with its checksum, without the newline."""
    return json.dumps({**row, "crc": _crc(row)})


def read_line(line: str) -> tuple[str, str, str, str] | None:
    """Return sample id, state, its text, and the code behind it; None of a line that is not whole.

    Lines without a checksum are those of folders made before there was one: no damage to a single
    byte can make one of the other.
    """
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
        return None
    crc = row.pop("crc", None)
    states = [state for state in STATES if state in row]
    names = {"id", *states, *({CODE} & set(row))}
    if len(states) != 1 or set(row) != names or crc not in (None, _crc(row)):
        return None
    return row["id"], states[0], row[states[0]], row.get(CODE, "")


def _crc(row: dict[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(row, sort_keys=True).encode()):08x}"


class FolderState(Enum):
    """What lies where a run is to be."""

    NEW = "no run; perhaps shards of one"
    ASKED = "a run that was asked for and made nothing so far"
    BEGUN = "a run with a ledger, images or shards"


@dataclass
class RunFolder:
    """Paths of one run and the ledger of what is finished.

    ``create``, ``resume``, ``read_only`` and ``exclusive`` open one.

    Attributes:
        path: Of the folder.
        digests: Pixel digest by sample id.
        failures: Reason of a failure by sample id.
        unsupported: Why the generator is not made for a sample, by sample id.
        code: Tag of the code that makes the images; lines of the ledger that name another count
            for nothing. Empty where none was stated.
    """

    path: Path
    digests: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    code: str = ""
    _unsynced: list[str] = field(default_factory=list, repr=False, compare=False)
    _synced_at: float = field(default_factory=time.monotonic, repr=False, compare=False)

    @property
    def record(self) -> Path:
        """Path of the finished record."""
        return self.path / "record.json"

    @property
    def ledger(self) -> Path:
        """Path of the ledger."""
        return self.path / "ledger.jsonl"

    def image(self, sample_id: str) -> Path:
        """Path of the image of a sample."""
        return self.path / "images" / f"{sample_id}.png"

    @classmethod
    def create(cls, path: Path, identity: dict[str, Any]) -> RunFolder:
        """Begin a run where there is none.

        Args:
            path: Of the folder; it may hold shards.
            identity: What the run is asked for.

        Raises:
            AubenchError: A run is there already, or files of something else.
        """
        folder = cls(path)
        if folder.state() is not FolderState.NEW:
            raise AubenchError(f"{path} holds a run already", "choose another --out")
        folder._begin(identity)
        return folder

    @classmethod
    def resume(cls, path: Path, identity: dict[str, Any]) -> RunFolder:
        """Return a run that was begun, with what its ledger knows.

        Args:
            path: Of the folder.
            identity: What the run is asked for; what it was asked for must agree.

        Raises:
            AubenchError: There is no run, it is damaged, or it was asked for something else.
        """
        folder = cls.read_only(path)
        folder._check(identity)
        return folder

    @classmethod
    def read_only(cls, path: Path) -> RunFolder:
        """Return a run with what its ledger knows; nothing is written and nobody locked out.

        Raises:
            AubenchError: There is no run, or files of something else.
        """
        folder = cls(path)
        if folder.state() is FolderState.NEW:
            raise AubenchError(f"{path} holds no run", "`aubench run … --out` makes one")
        folder.code = str((folder._former() or {}).get(CODE, ""))
        folder._read_ledger()
        return folder

    @classmethod
    @contextmanager
    def exclusive(cls, path: Path, identity: dict[str, Any], *, fresh: bool) -> Iterator[RunFolder]:
        """Create a run or resume it, as its only writer until the block ends.

        A run that was asked for otherwise and refused before it made anything gives way.

        Args:
            path: Of the folder.
            identity: What the run is asked for; a resumed one must agree.
            fresh: Whether to throw away what a former run left here.

        Raises:
            AubenchError: Another process is at work here; the folder is another run's, or not a
                run folder.
        """
        folder = cls(path)
        folder.state()  # before a lock is written into a stranger's folder
        with locked(path):
            if fresh or folder._gives_way(identity):
                folder._clear()
            sweep(path, owned=True, apart=SHARDS)
            sweep(home() / "features")
            sweep(home() / "weights")
            if folder.state() is FolderState.NEW:
                folder._begin(identity)
            else:
                folder._check(identity)
                folder._read_ledger()
            try:
                yield folder
            finally:
                folder.sync()
                sweep(home() / "features")

    def state(self) -> FolderState:
        """Return what lies here.

        Raises:
            AubenchError: Files of something else, or a run whose ``run.json`` is missing.
        """
        if self._stated.is_file():
            made = (self.ledger.name, "images", SHARDS)
            begun = any((self.path / name).exists() for name in made)
            return FolderState.BEGUN if begun else FolderState.ASKED
        if not self.path.exists():
            return FolderState.NEW
        with translate_os_errors(self.path):
            names = sorted(p.name for p in self.path.iterdir())
        found = [name for name in names if name != SHARDS and not name.startswith(".")]
        if self.ledger.name in found:
            raise AubenchError(f"{self._stated} is missing", "choose another --out")
        if found:
            raise AubenchError(f"{self.path} holds files of something else", "choose another --out")
        return FolderState.NEW

    def _begin(self, identity: dict[str, Any]) -> None:
        self.code = str(identity.get(CODE, ""))
        write_text(self._stated, json.dumps(identity, indent=1) + "\n", durable=True)

    def _clear(self) -> None:
        """Empty the folder; what tells that it is a run's goes last, in case of a kill.

        Raises:
            AubenchError: It holds something that no run has written; nothing is removed then.
        """
        if not self._stated.is_file():
            return
        with translate_os_errors(self.path):
            there = sorted(self.path.iterdir())
            for path in there:
                if path.name not in WRITTEN and not path.name.startswith("."):
                    raise AubenchError(
                        f"{path} is no file of a run: nothing is removed",
                        "move it away, or choose another --out",
                    )
            for path in there:
                if path.name == SHARDS or path.name.startswith("."):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != self._stated.name:
                    path.unlink()
            self._stated.unlink()

    def _gives_way(self, identity: dict[str, Any]) -> bool:
        """Whether another run was asked for here and refused before it made anything."""
        if self.state() is not FolderState.ASKED:
            return False
        former = self._former()
        return former is not None and former.keys() == identity.keys() and former != identity

    def _former(self) -> dict[str, Any] | None:
        """Return what a run here was asked for; None if the file is damaged."""
        try:
            former = read_json(self._stated)
        except ValueError:
            return None
        return former if isinstance(former, dict) else None

    @property
    def _stated(self) -> Path:
        return self.path / "run.json"

    def _check(self, identity: dict[str, Any]) -> None:
        former = self._former()
        if former is None:
            raise AubenchError(f"{self._stated} is damaged", "start again with --fresh")
        for key, value in identity.items():
            if former.get(key) != value:
                raise AubenchError(
                    f"{self.path} holds a run with {key} = {former.get(key)}, now {value} "
                    f"({self._stated.name})",
                    "use --fresh or another --out",
                )
        self.code = str(former.get(CODE, ""))

    def _read_ledger(self) -> None:
        if not self.ledger.is_file():
            return
        text = self.ledger.read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):
            found = read_line(line)
            if found is not None:
                sample_id, state, told, code = found
                # What other code made or failed at is not known of this sample any more.
                self._enter(sample_id, state if code == self.code else "", told)

    def _enter(self, sample_id: str, state: str, text: str) -> None:
        """Take over what the ledger says last of a sample."""
        for name, known in zip(STATES, self._known(), strict=True):
            known.pop(sample_id, None)
            if name == state:
                known[sample_id] = text

    def _known(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        return self.digests, self.failures, self.unsupported

    def _append(self, rows: list[dict[str, str]]) -> None:
        code = {CODE: self.code} if self.code else {}
        append(self.ledger, "".join(ledger_line(row | code) + "\n" for row in rows).encode())
        for row in rows:
            state = next(name for name in STATES if name in row)
            self._enter(row["id"], state, row[state])
        self._unsynced += [row["id"] for row in rows]
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was entered since the last time to the disk: images, then the ledger."""
        if self._unsynced:
            with translate_os_errors(self.path):
                images = [self.image(name) for name in self._unsynced if name in self.digests]
                for path in (
                    *images,
                    *({image.parent for image in images}),
                    self.ledger,
                    self.path,
                ):
                    if path.exists():
                        sync(path)
        self._unsynced.clear()
        self._synced_at = time.monotonic()

    def add(self, sample_ids: list[str], images: npt.NDArray[np.uint8]) -> None:
        """Store finished images uint8 [B, H, W, 3], then enter them in the ledger."""
        rows = []
        for sample_id, image in zip(sample_ids, images, strict=True):
            write_png(self.image(sample_id), image)
            rows.append({"id": sample_id, "sha256": pixel_digest(image)})
        self._append(rows)

    def enter(self, rows: list[dict[str, str]]) -> None:
        """Enter samples as a line of the ledger has them; images must be in their places."""
        if rows:
            self._append(rows)

    def rows(self, sample_ids: list[str]) -> list[dict[str, str]]:
        """Return what the ledger says of some samples, as ``enter`` takes it."""
        return [
            {"id": sample_id, state: known[sample_id]}
            for sample_id in sample_ids
            for state, known in zip(STATES, self._known(), strict=True)
            if sample_id in known
        ]

    def known(self, sample_id: str) -> bool:
        """Whether the ledger tells of a sample."""
        return any(sample_id in known for known in self._known())

    def fail(self, sample_id: str, reason: str) -> None:
        """Enter a sample that the generator could not make."""
        self._append([{"id": sample_id, "failed": reason}])

    def leave_out(self, sample_id: str, reason: str) -> None:
        """Enter a sample that the generator is not made for."""
        self._append([{"id": sample_id, "unsupported": reason}])

    def intact(self, sample_id: str) -> bool:
        """Whether the image of a sample is there, decodes, and has the digest of the ledger."""
        expected = self.digests.get(sample_id)
        if expected is None:
            return False
        try:
            return pixel_digest(read_png(self.image(sample_id))) == expected
        except (OSError, ValueError, SyntaxError):
            return False

    def read(self, sample_id: str) -> Image:
        """Return the image of a sample, uint8 [H, W, 3], if it is the one of the ledger.

        Raises:
            AubenchError: It is missing, damaged or another one; names the file.
        """
        path = self.image(sample_id)
        try:
            image = read_png(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise AubenchError(f"{path} is missing or damaged", "run the model again") from error
        if pixel_digest(image) != self.digests.get(sample_id):
            raise AubenchError(f"{path} is not the image of the ledger", "run the model again")
        return image

    def seal(self) -> None:
        """Keep the digest of the record beside it; whoever reads the record compares."""
        digest = sha256_file(self.record) + "\n"
        write_text(self.record.with_suffix(".sha256"), digest, durable=True)

    def digest(self, sample_ids: list[str]) -> str:
        """Return one sha256 over all images of the run, in the order given."""
        whole = hashlib.sha256()
        for sample_id in sample_ids:
            whole.update(f"{sample_id}={self.digests.get(sample_id, 'failed')}\n".encode())
        return whole.hexdigest()

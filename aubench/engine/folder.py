"""The run folder: images, a ledger of their digests, and what the run was asked for.

Resume goes by content: a finished image is one whose pixels decode and whose digest is in
the ledger. Every file is written under a temporary name and renamed; the ledger is
append-only, and a last line cut short by a kill is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.files import atomic_path, write_text

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

    with Pillow.open(path, formats=["PNG"]) as opened:
        if opened.mode != "RGB":
            raise ValueError(f"mode {opened.mode}")
        return np.asarray(opened, dtype=np.uint8)


@dataclass
class RunFolder:
    """Paths of one run and the ledger of what is finished.

    ``digests`` maps sample ids to pixel digests, ``failures`` to the reason of a failure,
    ``unsupported`` to why the generator is not made for the sample.
    """

    path: Path
    digests: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)

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

    def open(self, identity: dict[str, Any], *, fresh: bool) -> None:
        """Create the folder or resume it.

        Args:
            identity: what the run was asked for; a resumed folder must agree.
            fresh: throw away what a former run left here.

        Raises:
            AubenchError: the folder is another run's, or not a run folder.
        """
        stated = self.path / "run.json"
        if fresh and stated.is_file():
            shutil.rmtree(self.path)
        if stated.is_file():
            self._check(stated, identity)
        elif self.path.exists() and any(
            not name.name.startswith(".") for name in self.path.iterdir()
        ):
            raise AubenchError(f"{self.path} holds files of something else", "choose another --out")
        else:
            write_text(stated, json.dumps(identity, indent=1) + "\n")
        self._read_ledger()

    def _check(self, stated: Path, identity: dict[str, Any]) -> None:
        try:
            former = json.loads(stated.read_text(encoding="utf-8"))
        except ValueError as error:
            raise AubenchError(f"{stated} is damaged", "start again with --fresh") from error
        for key, value in identity.items():
            if former.get(key) != value:
                raise AubenchError(
                    f"{self.path} holds a run with {key} = {former.get(key)}, now {value}",
                    "use --fresh or another --out",
                )

    def _read_ledger(self) -> None:
        if not self.ledger.is_file():
            return
        for line in self.ledger.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut short by a kill; that sample is made again
            if "failed" in row:
                self.failures[row["id"]] = row["failed"]
            elif "unsupported" in row:
                self.unsupported[row["id"]] = row["unsupported"]
            elif "sha256" in row:
                self.digests[row["id"]] = row["sha256"]
                self.failures.pop(row["id"], None)

    def _append(self, rows: list[dict[str, str]]) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        try:
            with self.ledger.open("a+b") as stream:
                # After a kill the last line may lack its end.
                stream.seek(0, os.SEEK_END)
                if stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":
                        lines = "\n" + lines
                stream.write(lines.encode())
        except OSError as error:
            raise AubenchError(f"cannot write {self.ledger}: {error.strerror}") from error

    def add(self, sample_ids: list[str], images: npt.NDArray[np.uint8]) -> None:
        """Store finished images uint8 [B, H, W, 3], then enter them in the ledger."""
        rows = []
        for sample_id, image in zip(sample_ids, images, strict=True):
            write_png(self.image(sample_id), image)
            rows.append({"id": sample_id, "sha256": pixel_digest(image)})
        self._append(rows)
        self.digests.update((row["id"], row["sha256"]) for row in rows)

    def fail(self, sample_id: str, reason: str) -> None:
        """Enter a sample that the generator could not make."""
        self._append([{"id": sample_id, "failed": reason}])
        self.failures[sample_id] = reason

    def leave_out(self, sample_id: str, reason: str) -> None:
        """Enter a sample that the generator is not made for."""
        self._append([{"id": sample_id, "unsupported": reason}])
        self.unsupported[sample_id] = reason

    def intact(self, sample_id: str) -> bool:
        """Whether the image of a sample is there, decodes, and has the digest of the ledger."""
        expected = self.digests.get(sample_id)
        if expected is None:
            return False
        try:
            return pixel_digest(read_png(self.image(sample_id))) == expected
        except (OSError, ValueError, SyntaxError):
            return False

    def digest(self, sample_ids: list[str]) -> str:
        """Return one sha256 over all images of the run, in the order given."""
        whole = hashlib.sha256()
        for sample_id in sample_ids:
            whole.update(f"{sample_id}={self.digests.get(sample_id, 'failed')}\n".encode())
        return whole.hexdigest()

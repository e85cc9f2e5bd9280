"""Where the images of a study come from: finished run folders, checked against one another."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, suggest
from aubench.facs import Facs, load_facs, parse_aus
from aubench.storage.run_folder import RunFolder, read_png
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.protocols.protocol import Protocol

    Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Run:
    """The run folder of one model."""

    model: str
    folder: RunFolder
    identity: Mapping[str, Any]


def find_runs(
    models: Sequence[str],
    roots: Sequence[Path],
    protocol: Protocol,
    given: Mapping[str, Path],
    samples: Sequence[str] = (),
) -> list[Run]:
    """Return the run folder of each model on a protocol, in the order of ``models``.

    Args:
        models: Names of generators, each once.
        roots: Folders of run folders.
        protocol: What the runs must have been asked for.
        given: Run folders named by the user; their names need not be those of generators.
        samples: What is drawn; of several runs of a model those count that hold all of it.

    Raises:
        AubenchError: A model has no run of the protocol, or more than one; a run is of another
            version of the protocol.
    """
    twice = sorted({name for name in models if list(models).count(name) > 1})
    if twice:
        raise AubenchError(f"model '{twice[0]}' is named twice", "name each model once")
    known: dict[str, list[Path]] = {}
    asked = f"{protocol.dataset}/{protocol.name}"
    for root in roots:
        for stated in sorted(root.glob("*/run.json")):
            identity = _identity(stated.parent)
            begun = (stated.parent / "ledger.jsonl").is_file()  # a refused run made nothing
            if begun and identity.get("protocol") == asked:
                known.setdefault(str(identity.get("model")), []).append(stated.parent)
    return [_run(name, known, protocol, given.get(name), samples) for name in models]


def _holding(paths: list[Path], samples: Sequence[str]) -> list[Path]:
    """Return the folders that hold all samples; all of them where none does."""
    if len(paths) < 2:
        return paths
    wanted = set(samples)
    return [p for p in paths if wanted <= set(RunFolder.read_only(p).digests)] or paths


def _run(
    name: str,
    known: Mapping[str, list[Path]],
    protocol: Protocol,
    given: Path | None,
    samples: Sequence[str],
) -> Run:
    paths = [given] if given is not None else _holding(known.get(name, []), samples)
    if not paths:
        raise AubenchError(
            f"no run of '{name}' on {protocol.name}{suggest(name, known)}",
            f"`aubench run --model {name} --protocol {protocol.name}`, or --run {name}=FOLDER; "
            "--plan lists the samples it takes",
        )
    if len(paths) > 1:
        listed = ", ".join(map(str, paths))
        raise AubenchError(f"'{name}' has several runs: {listed}", f"choose by --run {name}=FOLDER")
    identity = _identity(paths[0])
    if identity.get("protocol sha256") != protocol.sha256:
        raise AubenchError(
            f"{paths[0]} is a run of {identity.get('protocol')} other than {protocol.name} "
            f"{protocol.version}",
            "run the model on this protocol",
        )
    return Run(name, RunFolder.read_only(paths[0]), identity)


def _identity(folder: Path) -> dict[str, Any]:
    try:
        identity = read_json(folder / "run.json")
    except OSError as error:
        raise AubenchError(
            f"{folder} is no run folder: {error.strerror} (run.json)", "`aubench run` makes one"
        ) from error
    except ValueError as error:
        raise AubenchError(f"{folder / 'run.json'} is damaged", "run the model again") from error
    if not isinstance(identity, dict):
        raise AubenchError(f"{folder / 'run.json'} is damaged", "run the model again")
    return identity


def _again(run: Run) -> str:
    protocol = str(run.identity.get("protocol")).rpartition("/")[2]
    return f"`aubench run --model {run.model} --protocol {protocol} --out {run.folder.path}`"


def run_image(run: Run, sample_id: str) -> Image:
    """Return uint8 [H, W, 3] of a sample.

    Raises:
        AubenchError: The run has no such image, or it is not the one of its ledger.
    """
    if not run.folder.intact(sample_id):
        why = run.folder.failures.get(sample_id, "missing or changed since it was made")
        limit = run.identity.get("limit")
        if run.identity.get("only") is not None and sample_id not in run.folder.failures:
            raise AubenchError(
                f"{run.folder.path} was made for a study that draws other samples; it lacks "
                f"{sample_id}",
                f"--plan, then `aubench run --model {run.model} --for-study STUDY`",
            )
        if limit is not None and sample_id not in run.folder.failures:
            raise AubenchError(
                f"{run.folder.path} is a run with --limit {limit}; samples are drawn from all "
                f"of a protocol, and it lacks {sample_id}",
                f"{_again(run)} --fresh makes all",
            )
        raise AubenchError(
            f"{run.folder.image(sample_id)}: {why}", f"{_again(run)} completes the run"
        )
    return read_png(run.folder.image(sample_id))


def stray_aus(combination: str, sample: str, facs: Facs | None = None) -> list[int]:
    """Return auxiliary AUs of a sample that act in the region of the combination.

    An auxiliary AU is harmless if it shares neither region nor muscle with any AU of the
    combination and opposes none of them; a fair trial has no other.

    Args:
        combination: Combination, such as ``12+15``, what the trial judges.
        sample: All AUs of the sample, such as ``1+12+15``.
        facs: The table of AUs, the shipped one if None.
    """
    table = facs or load_facs()
    judged, present = set(parse_aus(combination)), set(parse_aus(sample))
    regions = {table.actions[au].region for au in judged}
    muscles = {name.split(",")[0] for au in judged for name in table.actions[au].muscles}
    pairs = [set(pair) for pair in table.conflicts]

    def touches(au: int) -> bool:
        action = table.actions[au]
        return (
            action.region in regions
            or any(name.split(",")[0] in muscles for name in action.muscles)
            or any({au, other} in pairs for other in judged)
        )

    return sorted(au for au in present - judged if touches(au))


def one_size(image: Image, size: int) -> Image:
    """Return uint8 [size, size, 3]: padded to a square with mid grey, then resized (Lanczos)."""
    import numpy as np
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    if height != width:
        side = max(height, width)
        square = np.full((side, side, 3), 128, np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = image
        image = square
    if image.shape[0] == size:
        return image
    resized = Pillow.fromarray(image).resize((size, size), Pillow.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def bare_png(image: Image) -> bytes:
    """Return a PNG of pixels alone: header, data and end, no other chunk."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, format="PNG", optimize=False, compress_level=6)
    return stream.getvalue()

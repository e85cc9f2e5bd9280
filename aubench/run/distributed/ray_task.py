"""What a process of a Ray cluster does with a piece of a run; knows nothing of Ray itself.

It works in a temporary folder of its node and hands everything back as bytes, so that no file
system need be shared. The data set and the weights must be there, or be rendered there.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError

if TYPE_CHECKING:
    from aubench.run.config import Job, Loaded
    from aubench.stage_times import Meter

ERROR = "error"
PREFIX = "aubench-worker-"
_LOADED: dict[str, tuple[Job, Loaded]] = {}
"""The run that this process has loaded a generator for; Ray gives it one piece after another."""


@dataclass(frozen=True)
class PieceInput:
    """What a process needs to make and measure a piece of a run.

    Attributes:
        options: Options of the run, as ``RunConfig.plain`` gives them.
        identity: Identity of the run, as the driver knows it; what is here must agree.
        batch_size: Samples generated in one call.
        threads: Threads for torch.
        rows: Numbers of the samples; none of them only loads the generator.
        ledger: What is known of them already.
        files: PNG files of those that are made already, by sample id.
    """

    options: Mapping[str, Any]
    identity: Mapping[str, Any]
    batch_size: int
    threads: int
    rows: Sequence[int] = ()
    ledger: Sequence[dict[str, str]] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def make_and_measure(piece: PieceInput) -> dict[str, Any]:
    """Make and measure a piece; an error that a user can mend comes back as an answer.

    Returns:
        ``description`` of the generator and the machine, lines of the ``ledger``, PNG ``images``
        by sample id, files of the ``part`` by name, and what was ``spent`` by stage; or ``error``
        with a message and a remedy, since exceptions lose much on their way.
    """
    try:
        return _make_and_measure(piece)
    except AubenchError as error:
        return {ERROR: (error.message, error.hint)}
    except MemoryError:
        return {ERROR: (f"out of memory on {platform.node()}", "take a smaller --batch-size")}


def _make_and_measure(piece: PieceInput) -> dict[str, Any]:
    import torch

    from aubench.evaluate.parts import measure_part
    from aubench.run.generate import generate
    from aubench.stage_times import Meter
    from aubench.storage.files import write_bytes
    from aubench.storage.run_folder import RunFolder

    os.environ.setdefault("TQDM_DISABLE", "1")
    torch.set_num_threads(piece.threads)
    meter = Meter(None)
    job, loaded = _loaded(piece, meter)
    answer: dict[str, Any] = {"description": _description(loaded), "ledger": [], "images": {}}
    if piece.rows:
        with tempfile.TemporaryDirectory(prefix=f"{_prefix()}{os.getpid()}-") as place:
            folder, samples = RunFolder(Path(place)), job.samples.subset(list(piece.rows))
            for name, data in piece.files.items():
                write_bytes(folder.image(name), data)
            folder.enter(list(piece.ledger))
            with meter.stage("render"):
                meter.count(job.prefetch(samples, loaded.size))
            with meter.stage("generate"):
                generate(
                    folder,
                    samples,
                    job.images,
                    loaded.generator,
                    size=loaded.size,
                    batch_size=piece.batch_size,
                )
            part = Path(place) / "part"
            with meter.stage("measure"):
                whole = job.evaluation(folder, samples, loaded.info, loaded.size)
                measure_part(whole, job.samples, part)
            new = [name for name in samples.ids if name in folder.digests]
            answer["ledger"] = folder.rows(samples.ids)
            answer["images"] = {
                name: folder.image(name).read_bytes() for name in new if name not in piece.files
            }
            answer["part"] = {path.name: path.read_bytes() for path in sorted(part.iterdir())}
    spent = {name: asdict(s) for call in meter.calls() for name, s in call.items()}
    return {**answer, "spent": spent}


def _loaded(piece: PieceInput, meter: Meter) -> tuple[Job, Loaded]:
    """Return the run and its generator, which a process loads once.

    Raises:
        AubenchError: Data, protocol or weights are not those of the driver.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.run.config import config_of, prepare
    from aubench.storage.files import sha256_json

    key = sha256_json({"options": dict(piece.options), "identity": dict(piece.identity)})
    if key not in _LOADED:
        _remove_abandoned_folders()
        with meter.stage("load"):
            job = prepare(config_of(piece.options, Path()))
            images = find_dataset(job.config.data).images(piece.threads)
            job = replace(job, images=images)
            here = job.identity()
            for name, value in piece.identity.items():
                if here.get(name) != value:
                    raise AubenchError(
                        f"worker on {platform.node()} has {name} = {here.get(name)}, "
                        f"the driver {value}",
                        "bring data, protocols, weights and plug-ins of the driver to every node",
                    )
            loaded = job.load(job.samples)
        _LOADED.clear()
        _LOADED[key] = job, loaded
    return _LOADED[key]


def _description(loaded: Loaded) -> dict[str, Any]:
    from aubench.generators.plain_info import plain_info
    from aubench.generators.registry import weights_digest
    from aubench.run.distributed.shards import versions
    from aubench.run.provenance import hardware

    return {
        "info": plain_info(loaded.info),
        "size": loaded.size,
        "weights": weights_digest(loaded.generator),
        "versions": versions(),
        "hardware": hardware(),
        "machine": platform.node(),
    }


def _prefix() -> str:
    """Return how temporary folders of workers begin that number processes as this one does."""
    try:
        return f"{PREFIX}{Path('/proc/self/ns/pid').stat().st_ino}-"
    except OSError:
        return f"{PREFIX}{platform.node()}-"


def _remove_abandoned_folders() -> None:
    """Remove what killed workers of this machine left."""
    for place in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        process = place.name.removeprefix(_prefix()).partition("-")[0]
        if Path("/proc/self").exists() and not Path("/proc", process).exists():
            shutil.rmtree(place, ignore_errors=True)

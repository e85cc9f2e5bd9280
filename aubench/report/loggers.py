"""Experiment loggers: what a finished run tells TensorBoard, W&B, MLflow or Trackio.

A logger is asked for by ``NAME`` or ``NAME:DESTINATION``; its package is imported when it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.records.record import Record

PROJECT = "aubench"
"""Project or experiment where no destination is given."""


@dataclass(frozen=True)
class RunFacts:
    """What a logger is told of a run.

    Attributes:
        name: Of the run: model, data set and protocol.
        config: What it was, flat and plain: model, weights, protocol, its digest, seed, metric ids.
        scores: Values by metric; metrics without a value are left out.
        sheet: The contact sheet; None where there is none, or where its faces must not leave.
        record: The file ``record.json``.
        folder: The run folder.
    """

    name: str
    config: dict[str, str | int | float]
    scores: dict[str, float]
    sheet: Path | None
    record: Path
    folder: Path


def facts_of(record: Record, folder: Path) -> RunFacts:
    """Return what loggers are told of a finished run.

    Args:
        record: Of the run.
        folder: Where it lies.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.evaluate.evaluate import GRID

    protocol, counts = record.protocol, record.counts
    config: dict[str, str | int | float] = {
        "model": record.model.name,
        "dataset": protocol.dataset,
        "protocol": protocol.name,
        "protocol sha256": protocol.sha256,
        "samples": counts.asked,
        "generated": counts.generated,
        "failed": counts.failed,
        **{f"id {row.metric}": row.id for row in record.scores},
        **{f"{stage} seconds": cost.seconds for stage, cost in record.costs.items()},
    }
    scores = {row.metric: row.value for row in record.scores if row.value is not None}
    shown = (folder / GRID).is_file() and not find_dataset(protocol.dataset).restricted
    name = f"{record.model.name} on {protocol.dataset}/{protocol.name}"
    return RunFacts(
        name, config, scores, folder / GRID if shown else None, folder / "record.json", folder
    )


def _tensorboard(facts: RunFacts, destination: str | None) -> None:
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    from aubench.storage.pictures import load_picture

    place = destination or str(facts.folder / "tensorboard")
    with SummaryWriter(place) as writer:
        for metric, value in facts.scores.items():
            writer.add_scalar(metric, value)
        writer.add_text("run", json.dumps(facts.config, indent=1))
        if facts.sheet is not None:
            sheet = np.asarray(load_picture(facts.sheet))
            writer.add_image("sheet", sheet, dataformats="HWC")


def _wandb(facts: RunFacts, destination: str | None) -> None:
    import wandb

    with wandb.init(
        project=destination or PROJECT, name=facts.name, config=facts.config, dir=facts.folder
    ) as run:
        sheet = {} if facts.sheet is None else {"sheet": wandb.Image(str(facts.sheet))}
        run.log({**facts.scores, **sheet})


def _mlflow(facts: RunFacts, destination: str | None) -> None:
    import mlflow

    if destination is not None:
        mlflow.set_tracking_uri(destination)
    mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=facts.name):
        # Names of parameters and metrics hold letters, digits, spaces and a few signs there.
        mlflow.log_params({key: str(value) for key, value in facts.config.items()})
        mlflow.log_metrics(facts.scores)
        for path in (facts.record, facts.sheet):
            if path is not None:
                mlflow.log_artifact(str(path))


def _trackio(facts: RunFacts, destination: str | None) -> None:
    import trackio

    trackio.init(project=destination or PROJECT, name=facts.name, config=facts.config)
    trackio.log(dict(facts.scores))
    trackio.finish()


Adapter = Callable[[RunFacts, str | None], None]
LOGGERS: dict[str, tuple[str, Adapter]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "trackio": ("trackio", _trackio),
}
"""Package and adapter of each logger."""


@dataclass(frozen=True)
class Logger:
    """A logger that was asked for.

    Attributes:
        name: A key of ``LOGGERS``.
        destination: A folder (TensorBoard), a project (W&B, Trackio) or a tracking URI (MLflow);
            None for the run folder, or the project ``aubench``.
    """

    name: str
    destination: str | None

    def log(self, facts: RunFacts) -> None:
        """Hand over what a run found.

        Raises:
            AubenchError: The logger failed; the run and its record are there all the same.
        """
        try:
            LOGGERS[self.name][1](facts, self.destination)
        except Exception as error:
            raise AubenchError(
                f"{self.name}: {type(error).__name__}: {error}",
                f"{facts.record} is there; mend it and give the same command again",
            ) from error


def open_loggers(words: Iterable[str]) -> tuple[Logger, ...]:
    """Return the loggers named by words such as ``tensorboard`` or ``mlflow:sqlite:///runs.db``.

    Raises:
        AubenchError: An unknown logger, or one whose package is not installed.
    """
    found = []
    for word in words:
        name, _, destination = word.partition(":")
        if name not in LOGGERS:
            raise AubenchError(
                f"--log-to: unknown logger '{name}'{suggest(name, LOGGERS)}",
                f"choose from {', '.join(LOGGERS)}",
            )
        package = LOGGERS[name][0]
        if find_spec(package) is None:
            raise AubenchError(
                f"--log-to: the package {package} is not installed", f"pip install {package}"
            )
        found.append(Logger(name, destination or None))
    return tuple(found)

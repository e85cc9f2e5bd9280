"""What the two commands have in common that train a network of ours by epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from aubench.cli import completion as complete
from aubench.cli.options import add_options, data_option, fold_option
from aubench.datasets import DEFAULT_DATASET

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class EpochHelp:
    """What ``--help`` says of the options that such commands have in common.

    Attributes:
        data: Of ``--data``.
        fold: Of ``--fold``, without the default.
        out: Default of ``--out``.
        epochs: Of ``--epochs``.
        unit: What a batch holds.
        batch: What is added to that.
        rate: Defaults of ``--rate``.
        precisions: Choices of ``--precision``.
        precision: Its defaults.
        seed: Default of ``--seed``.
        limit: Least value of ``--limit``, and what it says.
        parts: Default of ``--accumulate``.
    """

    data: str
    fold: str
    out: str
    epochs: str
    unit: str
    batch: str
    rate: str
    precisions: Sequence[str]
    precision: str
    seed: int
    limit: tuple[int, str]
    parts: str = "1"


def data_options(about: EpochHelp) -> Callable[[Command], Command]:
    """Return what names the data: ``--data`` and ``--fold``."""
    return add_options(data_option(about.data, complete.dataset_or_folder), fold_option(about.fold))


def epoch_options(about: EpochHelp) -> Callable[[Command], Command]:
    """Return the options of the training itself, each None unless given."""
    share = click.FloatRange(min=0, min_open=True)
    count = click.IntRange(min=1)
    least, limit = about.limit
    return add_options(
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            help=f"Folder to write.  [default: {about.out}]",
        ),
        click.option("--epochs", type=count, help=about.epochs),
        click.option(
            "--batch", type=count, help=f"{about.unit} a step{about.batch}.  [default: 64]"
        ),
        click.option(
            "--accumulate",
            type=count,
            help=f"Compute a batch in so many parts, for less memory.  [default: {about.parts}]",
        ),
        click.option("--rate", type=share, help=f"Learning rate.  [default: {about.rate}]"),
        click.option(
            "--precision",
            type=click.Choice(list(about.precisions)),
            help=f"Of the computation.  [default: {about.precision}]",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu"]),
            default="auto",
            show_default=True,
            help="auto: GPUs if there are any, as `accelerate` is set up.",
        ),
        click.option("--seed", type=int, help=f"[default: {about.seed}]"),
        click.option("--limit", type=click.IntRange(min=least), help=limit),
        click.option("--resume/--fresh", default=True, show_default=True),
    )


def command_words(data: str, flags: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the options that a card repeats, as one would type them.

    Args:
        data: Of ``--data``, left out where it is the default.
        flags: Value by name; True stands alone, what is false or None is left out.
        given: Options that have a default of the trainer's own, None unless given.
    """
    words = [f"--data {data}"] if data != DEFAULT_DATASET else []
    words += [
        f"--{name}" if value is True else f"--{name} {value}"
        for name, value in flags.items()
        if value
    ]
    return words + [
        f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value is not None
    ]


def is_first_process() -> bool:
    """Whether this process speaks for all of a distributed training."""
    return os.environ.get("RANK", "0") == "0"

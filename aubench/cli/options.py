"""Options that several commands have, so that they read and complete alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aubench.cli import completion as complete
from aubench.datasets import DEFAULT_DATASET
from aubench.metrics.registry import PROFILES, names

if TYPE_CHECKING:
    from aubench.generators.contract import Training

Command = TypeVar("Command", bound=Callable[..., Any])
Options = TypeVar("Options", bound=Any)


def data_option(
    help_text: str = "Data set.", completer: complete.Completer = complete.dataset
) -> Callable[[Command], Command]:
    """Return ``--data``, whose default is the data set that ships.

    Args:
        help_text: Shown by ``--help``.
        completer: Completer of the values in the shell.
    """
    return click.option(
        "--data",
        shell_complete=completer,
        default=DEFAULT_DATASET,
        show_default=True,
        help=help_text,
    )


def fold_option(help_text: str) -> Callable[[Command], Command]:
    """Return ``--fold`` of a training.

    Args:
        help_text: Shown by ``--help``, before the default.
    """
    return click.option(
        "--fold",
        type=click.IntRange(min=1),
        help=f"{help_text}  [default: the data's own split, else 1]",
    )


def gather_options(kind: type[Any], name: str) -> Callable[[Command], Command]:
    """Return a decorator that hands options to a command as one object.

    Each field of ``kind`` is a parameter that click knows by the same name. Options are thus
    resolved once, where they are read, and flow down as configuration.

    Args:
        kind: A dataclass whose fields are options.
        name: Name of the command's argument that takes the object.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathered(*args: Any, **values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in fields(kind)}
            return command(*args, **{name: kind(**own)}, **values)

        return gathered  # type: ignore[return-value]

    return decorate


def add_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds several click options, listed by ``--help`` in this order."""

    def decorate(command: Command) -> Command:
        decorated: Any = command
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a command that trains a generator."""

    preset: str | None
    data: str
    steps: int | None
    seed: int
    device: str
    settings: tuple[str, ...]
    out: Path | None
    fold: int | None

    def training(
        self, model: str, presets: Sequence[str], folder: str, stage: int | None = None
    ) -> Training:
        """Return it as a generator reads it.

        Args:
            model: Its name.
            presets: Presets that it has, the default first.
            folder: Folder that trainings lie in, by default.
            stage: One of several.

        Raises:
            AubenchError: No such preset or device, or a setting that is not NAME=VALUE.
        """
        from aubench.generators.contract import Training
        from aubench.run.config import check_device

        name = preset_of(model, self.preset, presets)
        settings = named_values("--set", self.settings, "batch=16")
        check_device(self.device)
        out = self.out or Path(folder) / f"{model}-{name}"
        return Training(
            name, self.data, out, stage, self.steps, self.seed, self.device, settings, self.fold
        )


def training_options(
    data: str, steps: str, folder: str, completer: complete.Completer = complete.dataset
) -> Callable[[Command], Command]:
    """Return the options of a command that trains a generator, taken as ``options``.

    Args:
        data: Help of ``--data``.
        steps: Help of ``--steps``.
        folder: Folder that trainings lie in, by default.
        completer: Completer of ``--data``.
    """
    return add_options(
        click.option("--preset", help="Size and schedule [the model's first]."),
        data_option(data, completer),
        fold_option("Subject-exclusive fold to train on."),
        click.option("--steps", type=click.IntRange(min=1), help=steps),
        click.option("--seed", type=int, default=0, show_default=True),
        device_option(),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Change a setting; repeatable.",
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), help=f"Folder [{folder}/MODEL-PRESET]."
        ),
        gather_options(TrainingOptions, "options"),
    )


@dataclass(frozen=True)
class MeasurementOptions:
    """Options that say what is measured, and by which networks."""

    profile: str
    metrics: str | None
    extractor: str | None
    detectors: str | None
    witness: str | None
    legibility_model: str | None
    text_au: str | None

    def chosen_for(self, data: str) -> MeasurementOptions:
        """Return the options, with the networks kept with a data set where none are typed.

        Raises:
            AubenchError: What is kept cannot be read.
        """
        return with_chosen(self, data)


def with_chosen(options: Options, data: str) -> Options:
    """Return options with the networks that are kept with a data set, where none are typed.

    Args:
        options: A frozen dataclass with some of the fields of ``ChosenNetworks``.
        data: Name of the data set.

    Raises:
        AubenchError: What is kept cannot be read.
    """
    from aubench.networks.chosen_networks import read_chosen

    kept = read_chosen(data).model_dump(exclude_none=True)
    own = {field.name: getattr(options, field.name) for field in fields(options)}
    untyped = {name: kept[name] for name in kept if name in own and own[name] is None}
    return replace(options, **untyped)


def detectors_option() -> Callable[[Command], Command]:
    """Return ``--detectors``."""
    return click.option(
        "--detectors",
        metavar="A,B",
        help="One or two AU detectors, such as me-graphau=FILE,open-graphau=FILE, in place of "
        "the data set's own.",
    )


def extractor_option() -> Callable[[Command], Command]:
    """Return ``--extractor``."""
    return click.option(
        "--extractor", help="Network behind FID, KID, PRDC in place of the data set's own."
    )


def witness_option() -> Callable[[Command], Command]:
    """Return ``--witness``."""
    return click.option(
        "--witness",
        metavar="NAME",
        help="AU detector that is reported beside them, or none.  [default: mp-zero]",
    )


def text_au_option() -> Callable[[Command], Command]:
    """Return ``--text-au``."""
    return click.option(
        "--text-au",
        metavar="NAME|FOLDER",
        help="Classifier of AUs from text behind AAAD: nano, nano-dictionary, or a folder that "
        "`aubench train-text-au` wrote.",
    )


def measurement_options() -> Callable[[Command], Command]:
    """Return the options of `MeasurementOptions`; a command takes them as ``measurement``."""
    return add_options(
        click.option(
            "--profile",
            type=click.Choice(PROFILES),
            default="paper",
            show_default=True,
            help="Which metrics: the paper's and their company, or all.",
        ),
        click.option(
            "--metrics",
            shell_complete=complete.group_list,
            help=f"In place of a profile: some of {','.join(names())}.",
        ),
        extractor_option(),
        detectors_option(),
        witness_option(),
        click.option(
            "--legibility-model",
            metavar="MODEL",
            help="CLIP for `legibility`: a folder, or a hub id in the local cache; nothing is "
            "fetched.",
        ),
        text_au_option(),
        gather_options(MeasurementOptions, "measurement"),
    )


def device_option() -> Callable[[Command], Command]:
    """Return ``--device``."""
    return click.option("--device", default="cpu", show_default=True, help="torch device.")


def model_options() -> Callable[[Command], Command]:
    """Return what a generator is loaded with: ``--weights`` and ``--option``."""
    return add_options(
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Weights in place of the model's own.",
        ),
        click.option(
            "--option",
            "words",
            multiple=True,
            metavar="NAME=VALUE",
            help="Option of the model, such as saturate=true; repeatable.",
        ),
    )


def preset_of(model: str, name: str | None, known: Sequence[str]) -> str:
    """Return the preset asked for, or a model's first.

    Raises:
        AubenchError: The model has no such preset.
    """
    from aubench.errors import AubenchError, suggest

    if name is not None and name not in known:
        raise AubenchError(
            f"{model} has no preset '{name}'{suggest(name, known)}",
            f"choose from {', '.join(known)}",
        )
    return name or known[0]


def named_values(flag: str, words: Sequence[str], example: str) -> dict[str, str]:
    """Return what a repeatable option ``NAME=VALUE`` gave; of a name given twice, the last value.

    Args:
        flag: The option.
        words: Its values.
        example: Example of one, for the message.

    Raises:
        AubenchError: A word is not of that form.
    """
    from aubench.errors import AubenchError

    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip() or len(name.split()) > 1:
            raise AubenchError(f"{flag} {word} is not NAME=VALUE", f"for example {flag} {example}")
        found[name.strip()] = value.strip()
    return found

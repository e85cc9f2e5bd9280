"""Options that several commands have, so that they read and complete alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aubench.cli import completion as complete

if TYPE_CHECKING:
    from aubench.generator import Training

Command = TypeVar("Command", bound=Callable[..., Any])


def data_option(
    help_text: str = "Data set.", completer: complete.Completer = complete.dataset
) -> Callable[[Command], Command]:
    """Return ``--data``, whose default is the data set that ships.

    Args:
        help_text: shown by ``--help``.
        completer: of the values in the shell.
    """
    return click.option(
        "--data",
        shell_complete=completer,
        default="synfacs",
        show_default=True,
        help=help_text,
    )


@dataclass(frozen=True)
class Asked:
    """What a command that trains a generator was asked for; the fields are its options."""

    preset: str | None
    data: str
    steps: int | None
    seed: int
    device: str
    settings: tuple[str, ...]
    out: Path | None

    def training(
        self, model: str, presets: Sequence[str], folder: str, stage: int | None = None
    ) -> Training:
        """Return it as a generator reads it.

        Args:
            model: its name.
            presets: that it has, the default first.
            folder: that trainings lie in, by default.
            stage: one of several.

        Raises:
            AubenchError: no such preset or device, or a setting that is not NAME=VALUE.
        """
        from aubench.engine.job import check_device
        from aubench.generator import Training

        name = preset_of(model, self.preset, presets)
        settings = named_values("--set", self.settings, "batch=16")
        check_device(self.device)
        out = self.out or Path(folder) / f"{model}-{name}"
        return Training(name, self.data, out, stage, self.steps, self.seed, self.device, settings)


def training_options(
    data: str, steps: str, folder: str, completer: complete.Completer = complete.dataset
) -> Callable[[Command], Command]:
    """Return the options of a command that trains a generator; it takes them as ``asked``.

    Args:
        data: help of ``--data``.
        steps: help of ``--steps``.
        folder: that trainings lie in, by default.
        completer: of ``--data``.
    """
    options = [
        click.option("--preset", help="Size and schedule [the model's first]."),
        data_option(data, completer),
        click.option("--steps", type=click.IntRange(min=1), help=steps),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="torch device."),
        click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                     help="Change a setting; repeatable."),
        click.option("--out", type=click.Path(path_type=Path),
                     help=f"Folder [{folder}/MODEL-PRESET]."),
    ]  # fmt: skip

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(
            *, preset: str | None, data: str, steps: int | None, seed: int, device: str,
            settings: tuple[str, ...], out: Path | None, **more: Any,
        ) -> Any:  # fmt: skip
            asked = Asked(preset, data, steps, seed, device, settings, out)
            return command(asked=asked, **more)

        decorated: Any = wrapped
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def preset_of(model: str, name: str | None, known: Sequence[str]) -> str:
    """Return the preset asked for, or a model's first.

    Raises:
        AubenchError: the model has no such preset.
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
        flag: the option.
        words: its values.
        example: of one, for the message.

    Raises:
        AubenchError: a word is not of that form.
    """
    from aubench.errors import AubenchError

    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip() or len(name.split()) > 1:
            raise AubenchError(f"{flag} {word} is not NAME=VALUE", f"for example {flag} {example}")
        found[name.strip()] = value.strip()
    return found

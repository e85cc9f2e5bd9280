"""Options that several commands have, so that they read and complete alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from aubench.cli import completion as complete

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

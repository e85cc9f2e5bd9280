"""Errors a user can mend: one line that says what is wrong, one hint that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from aubench.plain_text import printable

__all__ = ["AubenchError", "CheckFailed", "first_line", "suggest"]


class AubenchError(Exception):
    """Bad input or a missing prerequisite; the command line prints it in one line.

    Args:
        message: Names the file, row or option at fault.
        hint: The remedy, where there is one.
    """

    exit_code = 2
    label = "error"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        line = self.message if self.hint is None else f"{self.message}; {self.hint}"
        return printable(" ".join(line.split()))


class CheckFailed(AubenchError):
    """A check did its work and found something; the input was good."""

    exit_code = 1
    label = "failed"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of what a foreign exception says, its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Loops compiled by numba, and where the compiled code is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Return a loop that numba compiles when it is first called.

    The code is kept beside the package, else in the user's cache. Where neither can be written, as
    in a container without a home, each process compiles anew, which takes some seconds.
    """
    try:
        return cast(Loop, njit(cache=True)(loop))
    except RuntimeError:  # numba has no place for it
        return cast(Loop, njit(loop))

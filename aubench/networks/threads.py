"""Linear algebra on one thread: the same on every number of cores, and never a pile-up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


@contextmanager
def _single() -> Iterator[None]:
    torch = sys.modules.get("torch")  # brings a BLAS of its own, which threadpoolctl cannot see
    before = torch.get_num_threads() if torch else 1
    with _controller().limit(limits=1, user_api="blas"):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Let numpy's and torch's BLAS use one thread inside a function.

    A factorisation of a 2,000 x 1,280 matrix takes a fifth of a second on one thread. Two threads
    that share their cores with another process wait for each other and take fifty times as long.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _single():
            return function(*args, **kwargs)

    return limited


def side_by_side(function: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """Return the function of each part, in order, as many at once as torch may use threads.

    Each part runs on one thread, so a value is the same whatever the number of threads.
    """
    import torch

    with ThreadPoolExecutor(torch.get_num_threads(), initializer=_alone) as pool, _single():
        return list(pool.map(function, parts))


def _alone() -> None:
    import torch

    torch.set_num_threads(1)  # MKL counts its threads for each thread that calls it

"""What the benchmarks are run with: their own sizes, or the smallest with which they run at all."""

import os

SMALLEST = bool(os.environ.get("AUBENCH_BENCH_SMALLEST"))


def size(own: int, smallest: int) -> int:
    """Return the one that is asked for."""
    return smallest if SMALLEST else own

"""Sizes: with ``--benchmark-disable`` each benchmark runs once, with as little as it can do."""

import os


def pytest_configure(config):
    """Tell the sizes to the modules, which read them as they are imported."""
    if config.getoption("benchmark_disable"):
        os.environ["AUBENCH_BENCH_SMALLEST"] = "1"

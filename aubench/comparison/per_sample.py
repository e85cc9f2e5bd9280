"""Scores of single samples of a run, higher is better."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aubench.comparison.runs import open_run
from aubench.metrics import registry


def per_sample_values(path: Path) -> dict[str, dict[str, float]]:
    """Return the values of a finished run by metric and sample id.

    Values of scores where less is better change sign; contributions to a score of the whole set
    are left out, since they say nothing of one face.

    Raises:
        AubenchError: It is no finished run, or its features are gone.
    """
    run = open_run(path)
    shared = set(run.metrics())
    metrics = [one for one in registry.installed() if one.name in shared and one.comparable]
    data = run.evaluation_data([metric.name for metric in metrics])
    found: dict[str, dict[str, float]] = {}
    for metric in metrics:
        for name, values in metric.per_sample(data).items():
            facts = metric.scores[name]
            if facts.whole_set or facts.higher_is_better is None:
                continue
            sign = 1.0 if facts.higher_is_better else -1.0
            found[name] = {
                sample: sign * float(value)
                for sample, value in zip(run.ids, values, strict=True)
                if np.isfinite(value)
            }
    return found

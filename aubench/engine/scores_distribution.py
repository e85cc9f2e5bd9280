"""Scores of the set of generated images against the set of targets."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured
from aubench.engine.rows import missing, row
from aubench.metrics.blocks import kernel_distances
from aubench.metrics.bootstrap import bootstrap_mean, interval, resamples
from aubench.metrics.inception_score import inception_influence, inception_score
from aubench.metrics.kernel import (
    kernel_replicates,
    kernels,
    subset_distances,
    unbiased,
)
from aubench.record import ScoreRow


def _suffix(m: Measured) -> str:
    return f"{m.extractor}|ref={m.ref}|n={len(m.kept)}"


def fid(m: Measured) -> list[ScoreRow]:
    """Return the Fréchet distance to the targets, and its limit for infinite N."""
    if m.missing:
        return missing(m, [("fid", False), ("fd_inf", False)], m.missing)
    n, value, limit = len(m.kept), m.frechet, m.frechet_limit
    influence, subjects = m.frechet_influence, m.subjects_kept()
    ci = bootstrap_mean(value + influence, subjects)
    return [
        row("fid", f"fid|{_suffix(m)}", value, n, up=False, ci=ci, note="biased at this N"),
        # Samples move both alike; the noise of the fitted line comes on top.
        row("fd_inf", f"fd-inf|{_suffix(m)}|points=8|seed=2020", limit, n, up=False,
            ci=bootstrap_mean(limit + influence, subjects),
            note="interval without the fit's noise"),
    ]  # fmt: skip


def kid(m: Measured) -> list[ScoreRow]:
    """Return the kernel distance to the targets: all pairs, and 100 subsets."""
    if m.missing:
        return missing(m, [("kid", False), ("kid_subset", False)], m.missing)
    n, subjects = len(m.kept), m.subjects_kept()
    made, real = m.extracted("features")
    draws = resamples(subjects, 200) if len(set(subjects)) > 1 else []
    if m.many:
        value, replicates, mean, spread = astuple(kernel_distances(made, real, draws))
    else:
        grams = kernels(m.grams)
        value, (mean, spread) = unbiased(*grams), subset_distances(*grams)
        replicates = kernel_replicates(*grams, draws) if draws else np.zeros(0)
    # Images of one subject resemble each other, and a resample holds some subjects twice: its
    # distance is shifted upwards. The spread counts, the centre is the value.
    ci = _recentred(replicates, value)
    k = min(1000, n, len(real))
    return [
        row("kid", f"kid|{_suffix(m)}", value, n, up=False, ci=ci),
        # The same quantity; which subsets were drawn adds a tenth of their deviation.
        row("kid_subset", f"kid-subset|{_suffix(m)}|100x{k}|seed=2020", mean, n, up=False,
             ci=_recentred(replicates, mean), note=f"deviation of subsets {spread:.2g}"),
    ]  # fmt: skip


def inception(m: Measured) -> list[ScoreRow]:
    """Return the inception score; it says little of faces."""
    if m.missing:
        return missing(m, [("is", True)], m.missing)
    name = m.extractor.split("|")[0]
    if "logits" not in m.generated[name]:
        return missing(m, [("is", True)], f"{name} knows no classes")
    logits, _ = m.extracted("logits")
    value, spread = inception_score(logits)
    id_ = f"is|{m.extractor}|splits=10|seed=2020|n={len(logits)}"
    logs = bootstrap_mean(inception_influence(logits), m.subjects_kept())
    ci = None if logs is None else (value * float(np.exp(logs[0])), value * float(np.exp(logs[1])))
    return [row("is", id_, value, len(logits), up=True, informative=False, ci=ci,
                note=f"deviation of splits {spread:.2g}")]  # fmt: skip


def prdc(m: Measured) -> list[ScoreRow]:
    """Return precision, recall, density and coverage among the targets."""
    names = ("precision", "recall", "density", "coverage")
    if m.missing:
        return missing(m, [(name, True) for name in names], m.missing)
    near, subjects = m.near, m.subjects_kept()
    values = near.scores()
    draws = resamples(subjects, 200) if len(set(subjects)) > 1 else []
    recall, coverage = near.replicates(draws) if draws else (np.zeros(0), np.zeros(0))
    intervals = {
        "precision": bootstrap_mean(near.precision(), subjects),
        "density": bootstrap_mean(near.density(), subjects),
        "recall": _recentred(recall, values["recall"]),
        "coverage": _recentred(coverage, values["coverage"]),
    }
    return [row(name, f"{name}|{_suffix(m)}|k=5", values[name], len(m.kept), up=True,
                ci=intervals[name]) for name in names]  # fmt: skip


def _recentred(replicates: npt.NDArray[np.float64], value: float) -> tuple[float, float] | None:
    """Return the interval of the finite replicates moved so that their mean is the value."""
    known = replicates[np.isfinite(replicates)]
    return interval(value + known - known.mean()) if len(known) else None

"""Scores of each generated image against its own target."""

from __future__ import annotations

import numpy as np

from aubench.engine.measured import Measured
from aubench.engine.pairs import LPIPS_ID
from aubench.engine.rows import failed_note, row
from aubench.metrics.bootstrap import bootstrap_mean
from aubench.metrics.pixels import psnr
from aubench.record import ScoreRow


def lpips(m: Measured) -> list[ScoreRow]:
    """Return the perceptual distance to the target."""
    n = len(m.labels)
    id_ = f"{LPIPS_ID}|to=target|n={n}"
    if "lpips" not in m.pairs.values:
        return [row("lpips", id_, None, n, up=False, note=m.pairs.notes["lpips"])]
    values = m.paired("lpips", 1.0)
    return [row("lpips", id_, float(values.mean()), n, up=False, note=failed_note(m, "1"),
                 ci=bootstrap_mean(values, m.subjects))]  # fmt: skip


def pixels(m: Measured) -> list[ScoreRow]:
    """Return root mean square, PSNR and SSIM to the target."""
    n, tail = len(m.labels), f"|to=target|n={len(m.labels)}"
    distance, likeness = m.paired("rms", 255.0), m.paired("ssim", 0.0)
    decibels = psnr(distance)
    finite = np.isfinite(decibels)
    same = int((~finite).sum())
    kept = [subject for subject, keep in zip(m.subjects, finite, strict=True) if keep]
    return [
        row("rms", f"rms{tail}", float(distance.mean()), n, up=False, note=failed_note(m, "255"),
             ci=bootstrap_mean(distance, m.subjects)),
        row("psnr", f"psnr{tail}", float(decibels[finite].mean()) if finite.any() else None,
             int(finite.sum()), up=True, note=f"{same} identical images left out" if same else "",
             ci=bootstrap_mean(decibels[finite], kept) if finite.any() else None),
        row("ssim", f"ssim|11 px{tail}", float(likeness.mean()), n, up=True,
             note=failed_note(m, "0"), ci=bootstrap_mean(likeness, m.subjects)),
    ]  # fmt: skip


def change(m: Measured) -> list[ScoreRow]:
    """Return the change outside the commanded AUs' regions, and the share of change inside."""
    n, pairs = len(m.kept), m.pairs.values
    asked = m.labels[m.kept].any(1)  # a neutral face commands no region
    out = []
    for name, metric, up in (("outside", "outside_change", False), ("locality", "locality", True)):
        values = pairs[name].astype(np.float64)
        known = np.isfinite(values) & asked
        truth = pairs[f"{name}_of_target"].astype(np.float64)
        truth = truth[np.isfinite(truth) & asked]
        who = [s for s, keep in zip(m.subjects_kept(), known, strict=True) if keep]
        notes = [f"targets reach {truth.mean():.3g}"] if len(truth) else []
        if n - known.sum():
            notes.append(f"undefined in {n - int(known.sum())} of {n}")
        mean = float(values[known].mean()) if known.any() else None
        ci = bootstrap_mean(values[known], who) if known.any() else None
        id_ = f"{metric}|synfacs-regions-32|to=reference|n={int(known.sum())}"
        out.append(row(metric, id_, mean, int(known.sum()), up=up, ci=ci, note=", ".join(notes)))
    return out

"""Scores of the AUs that detectors find against those that were asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured
from aubench.engine.rows import row
from aubench.facs import AUS
from aubench.metrics import aaad as aaad_module
from aubench.metrics import au_scores
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean, interval, resamples
from aubench.record import ScoreRow

ALIKE = "true and shuffled pairs of the reference set have the same cosines"


def aaad(m: Measured) -> list[ScoreRow]:
    """Return AAAD by both detectors, its ceiling and floor, and raw cosines."""
    out = []
    rows = aaad_module.comparable(m.wanted)
    n, quiet = len(rows), len(m.wanted) - len(rows)
    wanted, subjects = m.wanted[rows], [m.subjects[i] for i in rows]
    for network, tail in ((m.first, ""), (m.second, "_second")):
        truth = m.targets[network]["probabilities"][rows]
        scale, origin = m.scale(network)
        about = f"{m.tags[network].split(' ')[0]}|target={m.source}|ref={m.ref}|n={n}"
        if n < 2:
            out.append(row(f"aaad{tail}", f"aaad|{about}", None, n, up=True, note=_quiet(quiet)))
            continue
        if scale.coincide:
            out.append(row(f"aaad{tail}", f"aaad|{about}", None, n, up=True, note=ALIKE))
            continue
        cosine = aaad_module.cosines(m.whole(network)[rows], wanted)
        ci = bootstrap_mean(scaled_cosines(m, network)[rows], subjects)
        note = f"low {scale.low:.4f}, high {scale.high:.4f}, {origin}"
        if quiet:
            note += f"; {_quiet(quiet)}"
        out.append(row(f"aaad{tail}", f"aaad|{about}", aaad_module.aaad(cosine, scale), n, up=True,
                        ci=ci, note=note))  # fmt: skip
        out.append(row(f"cosine{tail}", f"cosine|{about}", float(cosine.mean()), n, up=True,
                        ci=bootstrap_mean(cosine, subjects)))  # fmt: skip
        if not tail:
            partners = aaad_module.shuffled(n, 2020)
            ceiling = aaad_module.aaad(aaad_module.cosines(truth, wanted), scale)
            floor = aaad_module.aaad(aaad_module.cosines(truth, wanted[partners]), scale)
            out.append(row("aaad_ceiling", f"aaad-of-targets|{about}", ceiling, n, up=True))
            out.append(row("aaad_floor", f"aaad-of-shuffled-targets|{about}", floor, n, up=True))
    return out


def scaled_cosines(m: Measured, network: str) -> npt.NDArray[np.float64]:
    """Return AAAD of each sample [N], whose mean is the run's; NaN where no AU is asked for.

    All NaN where the constants coincide.
    """
    scale, _ = m.scale(network)
    out = np.full(len(m.wanted), np.nan)
    if scale.coincide:
        return out
    rows = aaad_module.comparable(m.wanted)
    cosine = aaad_module.cosines(m.whole(network)[rows], m.wanted[rows])
    out[rows] = (cosine - scale.low) / (scale.high - scale.low)
    return out


def _quiet(count: int) -> str:
    return f"{count} samples that ask for no AU have no cosine and are left out"


def au(m: Measured) -> list[ScoreRow]:
    """Return F1 and AUC of commanded AUs and the share of others found, second detector."""
    n, p = len(m.labels), m.whole(m.second)
    found = p >= m.thresholds[m.second]
    id_ = f"{m.tags[m.second].split(' ')[0]}|commanded|n={n}"
    truth = m.targets[m.second]["probabilities"] >= m.thresholds[m.second]

    def mean_f1(rows: npt.NDArray[np.int64]) -> float:
        return au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows]))

    leak = off_target_shares(m)
    per_au = au_scores.f1(found, m.labels)
    ceiling = au_scores.mean_of(au_scores.f1(truth, m.labels))
    rows = [
        row("au_f1", f"f1|{id_}", au_scores.mean_of(per_au), n, up=True,
             ci=bootstrap(mean_f1, m.subjects, count=200), note=f"targets reach {ceiling:.3f}"),
        row("au_auc", f"auc|{id_}", au_scores.mean_of(au_scores.auc(p, m.labels)), n, up=True,
             ci=_ranked_interval(m, au_scores.auc_replicates)),
        row("off_target", f"off-target|{id_}", float(leak.mean()), n, up=False,
             ci=bootstrap_mean(leak, m.subjects)),
    ]  # fmt: skip
    for au, value in zip(AUS, per_au, strict=True):
        rows.append(row(f"au_f1_{au}", f"f1-AU{au}|{id_}", float(value), n, up=True))
    return rows


def _ranked_interval(
    m: Measured, replicates: Callable[..., npt.NDArray[np.float64]]
) -> tuple[float, float] | None:
    """Return the interval by subject of a mean over AUs of scores of the second detector's order.

    None of one subject.
    """
    if len(set(m.subjects)) < 2:
        return None
    drawn = replicates(m.whole(m.second), m.labels, resamples(m.subjects, 200))
    return interval(au_scores.row_means(drawn))


def off_target_shares(m: Measured) -> npt.NDArray[np.float64]:
    """Return the share of AUs found though not commanded [N]; 1 where the generator failed."""
    leak = au_scores.off_target(m.whole(m.second) >= m.thresholds[m.second], m.labels)
    leak[np.setdiff1d(np.arange(len(leak)), m.kept)] = 1  # a failed sample is no clean face
    return leak


def control(m: Measured) -> list[ScoreRow]:
    """Return the leakage beyond that of the targets, and average precision."""
    n, p = len(m.labels), m.whole(m.second)
    id_ = f"{m.tags[m.second].split(' ')[0]}|commanded|n={n}"
    found, truth = _found_and_truth(m)

    def excess(rows: npt.NDArray[np.int64]) -> float:
        labels = m.labels[rows]
        gap = au_scores.leakage_matrix(found[rows], labels)
        gap -= au_scores.leakage_matrix(truth[rows], labels)
        return au_scores.mean_of(gap[~np.eye(len(AUS), dtype=bool)])

    precision = au_scores.mean_of(au_scores.average_precision(p, m.labels))
    return [
        row("au_ap", f"ap|{id_}", precision, n, up=True,
             ci=_ranked_interval(m, au_scores.precision_replicates)),
        row("leakage", f"leakage-beyond-targets|{id_}", excess(np.arange(n)), n, up=False,
             ci=bootstrap(excess, m.subjects, count=200), note="by pair: leakage.csv"),
    ]  # fmt: skip


def _found_and_truth(m: Measured) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return what the second detector finds in generated images and targets, bool [N, 12].

    A failed sample shows none of what was asked for and all of what was not.
    """
    found = m.whole(m.second) >= m.thresholds[m.second]
    failed = np.setdiff1d(np.arange(len(m.labels)), m.kept)
    found[failed] = m.labels[failed] == 0
    return found, m.targets[m.second]["probabilities"] >= m.thresholds[m.second]


def leakage_table(m: Measured) -> str:
    """Return the matrices as text: a row for each commanded AU, of images and of targets."""
    lines = ["of,commanded," + ",".join(f"AU{au}" for au in AUS)]
    for of, found in zip(("generated", "targets"), _found_and_truth(m), strict=True):
        for au, rates in zip(AUS, au_scores.leakage_matrix(found, m.labels), strict=True):
            cells = ("" if np.isnan(value) else f"{value:.4f}" for value in rates)
            lines.append(f"{of},AU{au}," + ",".join(cells))
    return "\n".join(lines) + "\n"

"""Features to scores: what is measured, against what, and how the numbers are named."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.engine.folder import RunFolder, read_png
from aubench.engine.measured import DETECTED, FIRST, SECOND, Measured, gather
from aubench.engine.pairs import LPIPS_ID
from aubench.engine.sheet import write_grid
from aubench.facs import AUS
from aubench.files import write_text
from aubench.metrics import aaad as aaad_module
from aubench.metrics import au_scores
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean, interval, resamples
from aubench.metrics.frechet import frechet_distance, frechet_infinity, frechet_influence
from aubench.metrics.inception_score import inception_score
from aubench.metrics.kernel import (
    kernel_distance_subsets,
    kernel_matrices,
    kernel_replicates,
    unbiased,
)
from aubench.metrics.pixels import psnr
from aubench.metrics.prdc import prdc
from aubench.record import ScoreRow

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generator import GeneratorInfo
    from aubench.protocol import Protocol


@dataclass(frozen=True)
class Scored:
    """Scores of a run and what measured them."""

    rows: list[ScoreRow]
    subsets: dict[str, list[ScoreRow]]
    networks: dict[str, str]
    target_source: str
    seconds: dict[str, float]


def score(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    protocol: Protocol,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    device: str,
) -> Scored:
    """Measure what the metrics need, once, and compute them.

    Writes ``grid.png``, and ``leakage.csv`` where ``control`` is asked for.
    """
    start = time.perf_counter()
    found = gather(folder, samples, images, protocol, info, metrics, size, device)
    middle = time.perf_counter()
    rows: list[ScoreRow] = []
    for metric in metrics:
        rows += SCORERS[metric](found)
    subsets = _subsets(found, metrics)
    if any(metric in DETECTED for metric in metrics):
        _grid(folder, samples, images, found, size, info.name)
    if "control" in metrics:
        write_text(folder.path / "leakage.csv", _leakage_table(found))
    digests = {name: tag for name, tag in found.tags.items() if tag}
    if found.extractor:
        digests["extractor"] = found.extractor
    seconds = {
        "measure": round(middle - start, 2),
        "score": round(time.perf_counter() - middle, 2),
    }
    return Scored(rows, subsets, digests, found.source, seconds)


def _row(metric: str, id_: str, value: float | None, n: int, *, up: bool, **more: Any) -> ScoreRow:
    if value is not None and not np.isfinite(value):
        value, more["note"] = None, more.get("note") or "undefined on these samples"
    return ScoreRow(metric=metric, id=id_, value=value, n=n, higher_is_better=up, **more)


def _missing(m: Measured, metrics: Sequence[tuple[str, bool]]) -> list[ScoreRow]:
    n = len(m.kept)
    return [_row(name, name, None, n, up=up, note=m.missing) for name, up in metrics]


def _extractor_network(m: Measured) -> str:
    return m.extractor.split("|")[0]


def _suffix(m: Measured) -> str:
    return f"{m.extractor}|ref={m.ref}|n={len(m.kept)}"


def _fid(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("fid", False), ("fd_inf", False)])
    made, real = m.at(_extractor_network(m), "features")
    n, value = len(made), frechet_distance(made, real)
    ci = bootstrap_mean(value + frechet_influence(made, real), m.subjects_kept())
    return [
        _row("fid", f"fid|{_suffix(m)}", value, n, up=False, ci=ci, note="biased at this N"),
        _row("fd_inf", f"fd-inf|{_suffix(m)}|points=8|seed=2020", frechet_infinity(made, real), n,
             up=False),
    ]  # fmt: skip


def _kid(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("kid", False), ("kid_subset", False)])
    made, real = m.at(_extractor_network(m), "features")
    grams, n, subjects = kernel_matrices(made, real), len(made), m.subjects_kept()
    draws = resamples(subjects, 200) if len(set(subjects)) > 1 else []
    value = unbiased(*grams)
    replicates = kernel_replicates(*grams, draws) if draws else np.zeros(0)
    # Images of one subject resemble each other, and a resample holds some subjects twice: its
    # distance is shifted upwards. The spread counts, the centre is the value.
    ci = interval(value + replicates - replicates.mean()) if draws else None
    mean, spread = kernel_distance_subsets(made, real)
    k = min(1000, n, len(real))
    return [
        _row("kid", f"kid|{_suffix(m)}", value, n, up=False, ci=ci),
        _row("kid_subset", f"kid-subset|{_suffix(m)}|100x{k}|seed=2020", mean, n, up=False,
             note=f"deviation of subsets {spread:.2g}"),
    ]  # fmt: skip


def _is(m: Measured) -> list[ScoreRow]:
    if m.missing:
        return _missing(m, [("is", True)])
    logits, _ = m.at(_extractor_network(m), "logits")
    value, spread = inception_score(logits)
    id_ = f"is|{m.extractor}|splits=10|seed=2020|n={len(logits)}"
    return [_row("is", id_, value, len(logits), up=True, informative=False,
                 note=f"deviation of splits {spread:.2g}")]  # fmt: skip


def _lpips(m: Measured) -> list[ScoreRow]:
    n = len(m.labels)
    id_ = f"{LPIPS_ID}|to=target|n={n}"
    if "lpips" not in m.pairs.values:
        return [_row("lpips", id_, None, n, up=False, note=m.pairs.notes["lpips"])]
    values = m.paired("lpips", 1.0)
    return [_row("lpips", id_, float(values.mean()), n, up=False, note=_failed(m, "1"),
                 ci=bootstrap_mean(values, m.subjects))]  # fmt: skip


def _failed(m: Measured, worst: str) -> str:
    failed = len(m.labels) - len(m.kept)
    return f"{failed} failed samples count as {worst}" if failed else ""


def _pixels(m: Measured) -> list[ScoreRow]:
    n, tail = len(m.labels), f"|to=target|n={len(m.labels)}"
    distance, likeness = m.paired("rms", 255.0), m.paired("ssim", 0.0)
    decibels = psnr(distance)
    finite = np.isfinite(decibels)
    same = int((~finite).sum())
    kept = [subject for subject, keep in zip(m.subjects, finite, strict=True) if keep]
    return [
        _row("rms", f"rms{tail}", float(distance.mean()), n, up=False, note=_failed(m, "255"),
             ci=bootstrap_mean(distance, m.subjects)),
        _row("psnr", f"psnr{tail}", float(decibels[finite].mean()) if finite.any() else None,
             int(finite.sum()), up=True, note=f"{same} identical images left out" if same else "",
             ci=bootstrap_mean(decibels[finite], kept) if finite.any() else None),
        _row("ssim", f"ssim|11 px{tail}", float(likeness.mean()), n, up=True,
             note=_failed(m, "0"), ci=bootstrap_mean(likeness, m.subjects)),
    ]  # fmt: skip


def _aaad(m: Measured) -> list[ScoreRow]:
    out = []
    n = len(m.labels)
    for network, tail in ((FIRST, ""), (SECOND, "_second")):
        truth = m.targets[network]["probabilities"]
        scale, origin = m.scale(network)
        cosine = aaad_module.cosines(m.whole(network), m.wanted)
        span = scale.high - scale.low
        ci = bootstrap_mean((cosine - scale.low) / span, m.subjects)
        about = f"{m.tags[network].split(' ')[0]}|target={m.source}|ref={m.ref}|n={n}"
        note = f"low {scale.low:.4f}, high {scale.high:.4f}, {origin}"
        out.append(_row(f"aaad{tail}", f"aaad|{about}", aaad_module.aaad(cosine, scale), n, up=True,
                        ci=ci, note=note))  # fmt: skip
        out.append(_row(f"cosine{tail}", f"cosine|{about}", float(cosine.mean()), n, up=True,
                        ci=bootstrap_mean(cosine, m.subjects)))  # fmt: skip
        if not tail:
            partners = aaad_module.shuffled(n, 2020)
            ceiling = aaad_module.aaad(aaad_module.cosines(truth, m.wanted), scale)
            floor = aaad_module.aaad(aaad_module.cosines(truth, m.wanted[partners]), scale)
            out.append(_row("aaad_ceiling", f"aaad-of-targets|{about}", ceiling, n, up=True))
            out.append(_row("aaad_floor", f"aaad-of-shuffled-targets|{about}", floor, n, up=True))
    return out


def _au(m: Measured) -> list[ScoreRow]:
    n, p = len(m.labels), m.whole(SECOND)
    found = p >= m.thresholds[SECOND]
    id_ = f"{m.tags[SECOND].split(' ')[0]}|commanded|n={n}"
    truth = m.targets[SECOND]["probabilities"] >= m.thresholds[SECOND]

    def mean_f1(rows: npt.NDArray[np.int64]) -> float:
        return au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows]))

    leak = au_scores.off_target(found, m.labels)
    leak[np.setdiff1d(np.arange(n), m.kept)] = 1  # a failed sample is no clean face
    per_au = au_scores.f1(found, m.labels)
    ceiling = au_scores.mean_of(au_scores.f1(truth, m.labels))
    rows = [
        _row("au_f1", f"f1|{id_}", au_scores.mean_of(per_au), n, up=True,
             ci=bootstrap(mean_f1, m.subjects, count=200), note=f"targets reach {ceiling:.3f}"),
        _row("au_auc", f"auc|{id_}", au_scores.mean_of(au_scores.auc(p, m.labels)), n, up=True),
        _row("off_target", f"off-target|{id_}", float(leak.mean()), n, up=False,
             ci=bootstrap_mean(leak, m.subjects)),
    ]  # fmt: skip
    for au, value in zip(AUS, per_au, strict=True):
        rows.append(_row(f"au_f1_{au}", f"f1-AU{au}|{id_}", float(value), n, up=True))
    return rows


def _control(m: Measured) -> list[ScoreRow]:
    """Return the leakage beyond that of the targets, and average precision."""
    n, p = len(m.labels), m.whole(SECOND)
    id_ = f"{m.tags[SECOND].split(' ')[0]}|commanded|n={n}"
    found, truth = _found_and_truth(m)

    def excess(rows: npt.NDArray[np.int64]) -> float:
        labels = m.labels[rows]
        gap = au_scores.leakage_matrix(found[rows], labels)
        gap -= au_scores.leakage_matrix(truth[rows], labels)
        return au_scores.mean_of(gap[~np.eye(len(AUS), dtype=bool)])

    precision = au_scores.mean_of(au_scores.average_precision(p, m.labels))
    return [
        _row("au_ap", f"ap|{id_}", precision, n, up=True),
        _row("leakage", f"leakage-beyond-targets|{id_}", excess(np.arange(n)), n, up=False,
             ci=bootstrap(excess, m.subjects, count=200), note="by pair: leakage.csv"),
    ]  # fmt: skip


def _found_and_truth(m: Measured) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return what the second detector finds in generated images and targets, bool [N, 12].

    A failed sample shows none of what was asked for and all of what was not.
    """
    found = m.whole(SECOND) >= m.thresholds[SECOND]
    failed = np.setdiff1d(np.arange(len(m.labels)), m.kept)
    found[failed] = m.labels[failed] == 0
    return found, m.targets[SECOND]["probabilities"] >= m.thresholds[SECOND]


def _leakage_table(m: Measured) -> str:
    """Return the matrices as text: a row for each commanded AU, of images and of targets."""
    lines = ["of,commanded," + ",".join(f"AU{au}" for au in AUS)]
    for of, found in zip(("generated", "targets"), _found_and_truth(m), strict=True):
        for au, row in zip(AUS, au_scores.leakage_matrix(found, m.labels), strict=True):
            cells = ("" if np.isnan(value) else f"{value:.4f}" for value in row)
            lines.append(f"{of},AU{au}," + ",".join(cells))
    return "\n".join(lines) + "\n"


def _prdc(m: Measured) -> list[ScoreRow]:
    names = ("precision", "recall", "density", "coverage")
    if m.missing:
        return _missing(m, [(name, True) for name in names])
    made, real = m.at(_extractor_network(m), "features")
    values = prdc(real, made)
    return [_row(name, f"{name}|{_suffix(m)}|k=5", values[name], len(made), up=True)
            for name in names]  # fmt: skip


SCORERS: dict[str, Callable[[Measured], list[ScoreRow]]] = {
    "fid": _fid, "kid": _kid, "is": _is, "lpips": _lpips, "pixels": _pixels, "aaad": _aaad,
    "au": _au, "control": _control, "prdc": _prdc,
}  # fmt: skip


def _subsets(m: Measured, metrics: Sequence[str]) -> dict[str, list[ScoreRow]]:
    """Return AU scores of each stratum of the protocol."""
    names = sorted(set(m.strata))
    if len(names) < 2 or not {"aaad", "au"} <= set(metrics):
        return {}
    found = m.whole(SECOND) >= m.thresholds[SECOND]
    scale, _ = m.scale(FIRST)
    cosine = aaad_module.cosines(m.whole(FIRST), m.wanted)
    out = {}
    for name in names:
        rows = np.array([i for i, s in enumerate(m.strata) if s == name])
        n = len(rows)
        about = f"{m.ref}/{name}|n={n}"
        asked = m.labels[rows].any(0)  # an AU that the stratum never asks for has no F1
        f1 = au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows])[asked])
        out[name] = [
            _row("aaad", f"aaad|{about}", aaad_module.aaad(cosine[rows], scale), n, up=True),
            _row("au_f1", f"f1-of-commanded|{about}", f1, n, up=True),
        ]
    return out


def _grid(
    folder: RunFolder, samples: SampleSet, images: ImageSource, m: Measured, size: int, name: str
) -> None:
    rows = m.kept[np.linspace(0, len(m.kept) - 1, min(16, len(m.kept))).astype(int)]
    frame = samples.frame
    found = m.whole(SECOND) >= m.thresholds[SECOND]
    pictures = [
        (
            images.load(str(frame["reference"].iloc[i]), size),
            images.load(str(frame["target"].iloc[i]), size),
            read_png(folder.image(str(frame["sample_id"].iloc[i]))),
        )
        for i in rows
    ]
    write_grid(
        folder.path / "grid.png", pictures, list(m.labels[rows]), list(found[rows]),
        f"{name}, {m.ref}, detected by {SECOND}",
    )  # fmt: skip

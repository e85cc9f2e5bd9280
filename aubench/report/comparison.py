"""Two run folders side by side: metrics, AUs, combinations, and the samples that differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured
from aubench.engine.scores_au import off_target_shares, scaled_cosines
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics.bootstrap import resamples
from aubench.metrics.frechet import frechet_distance, frechet_influence
from aubench.metrics.kernel import kernel_matrices, kernel_replicates, unbiased
from aubench.report.difference import (
    Difference,
    Vector,
    corrected,
    of_f1,
    of_means,
    of_replicates,
)
from aubench.report.runs import Run

COMPARED = ("fid", "kid", "lpips", "aaad", "au", "pixels")
MINIMUM = 20
"""A combination of fewer samples is not tested."""


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    Attributes:
        metrics: alone, each with its own p.
        aus: F1 of each AU by the second detector, a family.
        combinations: AAAD by the second detector of each combination of enough samples, a family.
        strata: the same of each stratum of the protocol, a family.
        skipped: metrics that cannot be compared, with the reason.
        by_sample: per-sample values of both runs [N], by metric.
    """

    first: Run
    second: Run
    metrics: list[Difference]
    aus: list[Difference]
    combinations: list[Difference]
    strata: list[Difference]
    skipped: dict[str, str]
    by_sample: dict[str, tuple[Vector, Vector]]
    found: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None

    def report(self) -> dict[str, Any]:
        """Return what ``compare.json`` holds."""
        return {
            "first": _about(self.first),
            "second": _about(self.second),
            "protocol": self.first.record.protocol.model_dump(),
            "differences": "first - second; intervals 95 %, by subject, 1000 resamples, seed 2020",
            "metrics": [asdict(d) for d in self.metrics],
            "aus": [asdict(d) for d in self.aus],
            "combinations": [asdict(d) for d in self.combinations],
            "strata": [asdict(d) for d in self.strata],
            "skipped": self.skipped,
        }


def _about(run: Run) -> dict[str, str | None]:
    return {
        "model": run.name,
        "images_sha256": run.record.provenance.images_sha256,
        "weights_sha256": run.record.model.weights_sha256,
    }


def check(first: Run, second: Run, protocol: str | None = None) -> None:
    """Refuse runs that are not of the same samples.

    Raises:
        AubenchError: says what differs.
    """
    for run in (first, second):
        if protocol is not None and run.protocol.name != protocol:
            raise AubenchError(
                f"{run.folder.path} is of protocol '{run.protocol.name}', not '{protocol}'"
            )
    one, two = first.record.protocol, second.record.protocol
    if one.sha256 != two.sha256:
        raise AubenchError(
            f"protocols differ: {one.name} and {two.name}", "compare runs of one protocol"
        )
    if first.ids != second.ids:
        raise AubenchError(
            "the runs are not of the same samples", "compare runs of one --limit and --seed"
        )


def compare(first: Run, second: Run, minimum: int = MINIMUM) -> Comparison:
    """Return the paired differences of two runs.

    Args:
        first: a run.
        second: another, of the same samples.
        minimum: samples of a combination to be tested.

    Raises:
        AubenchError: they are not of the same samples, or features are missing.
    """
    check(first, second)
    groups = [g for g in COMPARED if g in first.groups() and g in second.groups()]
    a, b = first.measured(groups), second.measured(groups)
    metrics: list[Difference] = []
    samples: dict[str, tuple[Vector, Vector]] = {}
    aus: list[Difference] = []
    families: dict[str, list[Difference]] = {"combination": [], "strata": []}
    found = None
    if not a.missing and "fid" in groups:
        metrics += _distances(a, b, "kid" in groups)
    if "aaad" in groups:
        samples |= _aaad(a, b)
    if "lpips" in a.pairs.values and "lpips" in b.pairs.values:
        samples["lpips"] = a.paired("lpips", 1.0), b.paired("lpips", 1.0)
    if "rms" in a.pairs.values and "rms" in b.pairs.values:
        samples["rms"] = a.paired("rms", 255.0), b.paired("rms", 255.0)
    if "au" in groups:
        found = _found(a), _found(b)
        samples["off_target"] = off_target_shares(a), off_target_shares(b)
        whole, aus = of_f1(*found, a.labels, a.subjects, [f"AU{au}" for au in AUS])
        metrics.append(whole)
    up = {"aaad": True, "aaad_second": True}
    skipped = _skipped(first, second, [d.name for d in metrics] + list(samples))
    samples = {name: pair for name, pair in samples.items() if name not in skipped}
    metrics = [d for d in metrics if d.name not in skipped]
    metrics += [_known(n, p, a.subjects, up.get(n, False)) for n, p in samples.items()]
    if "aaad_second" in samples:
        frame = first.samples.frame
        for column in families:
            names = [str(name) for name in frame[column]]
            if len(set(names)) > 1:
                families[column] = _family(samples["aaad_second"], names, a.subjects, minimum)
    return Comparison(
        first, second, metrics, aus, families["combination"], families["strata"], skipped, samples,
        found,
    )  # fmt: skip


def _distances(a: Measured, b: Measured, kid: bool) -> list[Difference]:
    """Return the differences of FID and KID; no interval where other samples failed in each."""
    one, real = a.extracted("features")
    two, _ = b.extracted("features")
    values = frechet_distance(one, real), frechet_distance(two, real)
    same, out = np.array_equal(a.kept, b.kept), []
    subjects = a.subjects_kept()
    several = len(set(subjects))
    if not same:
        out.append(of_replicates("fid", *values, np.zeros(0), len(one), several, higher=False))
    else:
        first = values[0] + frechet_influence(one, real)
        second = values[1] + frechet_influence(two, real)
        gap = of_means("fid", first, second, subjects, higher=False)
        out.append(gap)
    if kid:
        grams = kernel_matrices(one, real), kernel_matrices(two, real)
        kids = unbiased(*grams[0]), unbiased(*grams[1])
        draws = np.zeros(0)
        if same and several > 1:
            drawn = resamples(subjects, 200)
            draws = kernel_replicates(*grams[0], drawn) - kernel_replicates(*grams[1], drawn)
            draws = kids[0] - kids[1] + draws - draws.mean()
        out.append(of_replicates("kid", *kids, draws, len(one), several, higher=False))
    return out


def _aaad(a: Measured, b: Measured) -> dict[str, tuple[Vector, Vector]]:
    return {
        "aaad": (scaled_cosines(a, a.first), scaled_cosines(b, b.first)),
        "aaad_second": (scaled_cosines(a, a.second), scaled_cosines(b, b.second)),
    }


def _known(
    name: str, pair: tuple[Vector, Vector], subjects: Sequence[str], higher: bool
) -> Difference:
    """Return the difference over the samples that have a value in both runs."""
    rows = np.flatnonzero(np.isfinite(pair[0]) & np.isfinite(pair[1]))
    who = [subjects[int(i)] for i in rows]
    return of_means(name, pair[0][rows], pair[1][rows], who, higher=higher)


def _found(m: Measured) -> npt.NDArray[np.bool_]:
    return np.asarray(m.whole(m.second) >= m.thresholds[m.second])


def _skipped(first: Run, second: Run, names: Sequence[str]) -> dict[str, str]:
    """Return the metrics whose ids differ between the two records."""
    out = {}
    for name in names:
        one, two = first.record.score(name), second.record.score(name)
        if one is not None and two is not None and one.id != two.id:
            out[name] = f"measured differently: {one.id} and {two.id}"
    return out


def _family(
    pair: tuple[Vector, Vector], names: Sequence[str], subjects: Sequence[str], minimum: int
) -> list[Difference]:
    array, out = np.asarray(names), []
    for name in sorted(set(names)):
        rows = [int(i) for i in np.nonzero(array == name)[0]]
        if len(rows) < minimum:
            continue
        who = [subjects[i] for i in rows]
        chosen = pair[0][rows], pair[1][rows]
        if len(set(who)) > 1 and np.isfinite(chosen[0]).any():
            out.append(_known(name, chosen, who, True))
    return corrected(out)


def most_different(pair: tuple[Vector, Vector], count: int) -> list[int]:
    """Return rows by the size of the difference: where the first is higher, then where it is lower.

    Half each, or more of one where the other has too few; rows that do not differ are left out.
    """
    gap = pair[0] - pair[1]
    high = [int(i) for i in np.argsort(-gap, kind="stable") if gap[i] > 0]
    low = [int(i) for i in np.argsort(gap, kind="stable") if gap[i] < 0]
    some = min(len(low), max(count // 2, count - len(high)))
    return high[: count - some] + low[:some]

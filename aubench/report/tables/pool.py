"""Records of one protocol frozen from several folds: kept apart, or pooled where asked for.

Two digests are two sets of samples, however alike their names. Numbers of both in one column would
compare models on different people, so each digest has a table of its own; the mean over folds of
models that were run on every fold is another thing, and is called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from aubench.errors import AubenchError
from aubench.records.record import Record, ScoreRow

SHORT = 8
"""Digits of a protocol's digest in the id of a metric."""


def by_digest(name: str, records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each digest of a protocol.

    Those of the digest that most records have go by the protocol's name, of several the newest;
    the others by ``name@digest``.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.protocol.sha256, []).append(record)
    order = sorted(
        groups,
        key=lambda key: (len(groups[key]), max(r.created for r in groups[key])),
        reverse=True,
    )
    return {
        name if i == 0 else f"{name}@{digest[:SHORT]}": groups[digest]
        for i, digest in enumerate(order)
    }


def pooled(name: str, groups: Sequence[Sequence[Record]]) -> list[Record]:
    """Return a record of each model that was run on every fold: means weighted by samples.

    Intervals are those of a mean of independent folds: no subject is in the test part of two.

    Args:
        name: Of the protocol, for messages.
        groups: The records of each fold.

    Raises:
        AubenchError: There is only one, or no model was run on all.
    """
    if len(groups) < 2:
        raise AubenchError(
            f"the records of '{name}' are of one fold", "run models on others, or leave --pool out"
        )
    models = [{record.model.name: record for record in group} for group in groups]
    shared = [m for m in models[0] if all(m in other for other in models)]
    if not shared:
        raise AubenchError(
            f"no model was run on all {len(groups)} folds of '{name}'", "run one on every fold"
        )
    digests = [group[0].protocol.sha256[:SHORT] for group in groups]
    return [_pool([part[m] for part in models], digests) for m in shared]


def _pool(records: Sequence[Record], digests: Sequence[str]) -> Record:
    first = records[0]
    rows = [_mean(row, records, digests) for row in first.scores]
    counts = first.counts.model_copy(
        update={
            key: sum(getattr(record.counts, key) for record in records)
            for key in ("asked", "generated", "failed", "unsupported")
        }
    )
    return first.model_copy(
        update={
            "scores": [row for row in rows if row is not None],
            "subsets": {},
            "groups": {},
            "counts": counts,
            "protocol": first.protocol.model_copy(update={"sha256": "+".join(digests)}),
        }
    )


def _mean(row: ScoreRow, records: Sequence[Record], digests: Sequence[str]) -> ScoreRow | None:
    """Return the mean of a score over folds; None where one measured it otherwise or not at all."""
    found = [record.score(row.metric) for record in records]
    parts = [part for part in found if part is not None and part.value is not None]
    if len(parts) < len(records) or len({_bare(part.id) for part in parts}) > 1:
        return None
    n = np.array([part.n for part in parts], np.float64)
    values = np.array([part.value for part in parts], np.float64)
    share = n / n.sum()
    value = float(share @ values)
    ends = np.array([part.ci for part in parts if part.ci is not None], np.float64)
    ci = None
    if len(ends) == len(parts):
        below, above = np.sqrt((share[:, None] ** 2 * (values[:, None] - ends) ** 2).sum(0))
        ci = (value - float(below), value + float(above))
    id_ = re.sub(r"@[0-9a-f]{8}(?=\||$)", "@" + "+".join(digests), parts[0].id)
    id_ = re.sub(r"\|n=\d+", f"|n={int(n.sum())}", id_) + f"|mean of {len(parts)} folds"
    return row.model_copy(
        update={"id": id_, "value": value, "ci": ci, "n": int(n.sum()), "note": "mean of folds"}
    )


def _bare(id_: str) -> str:
    """Return an id without what differs between folds: the digest and the number of samples."""
    return re.sub(r"\|n=\d+", "", re.sub(r"(ref=[^|@]*)@[0-9a-f]+", r"\1", id_))

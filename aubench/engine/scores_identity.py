"""Scores of the person: is it still the one of the reference face?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured, References
from aubench.engine.rows import failed_note, missing, row
from aubench.metrics.bootstrap import bootstrap_mean
from aubench.metrics.identity import cosine, strangers, verification
from aubench.record import ScoreRow


def identity(m: Measured) -> list[ScoreRow]:
    """Return the mean cosine to the reference, and the verification rate at FAR 1 %."""
    if m.references is None:
        return missing(m, [("identity", True), ("verification", True)], m.unidentified)
    r, n = m.references, len(m.labels)
    id_ = f"{m.tags[r.network].split(' ')[0]}|to=reference|n={n}"
    likeness = identity_cosines(m)
    truth = cosine(m.targets[r.network]["embeddings"], r.embeddings[r.rows])
    others = strangers(r.embeddings, r.subjects)
    passed = verification(likeness, others)
    accepted = (likeness > passed.threshold).astype(np.float64)
    note = passed.reason or (
        f"threshold {passed.threshold:.3f} of {passed.strangers} strangers, "
        f"targets reach {verification(truth, others).rate:.3f}"
    )
    return [
        row("identity", f"cosine|{id_}", float(likeness.mean()), n, up=True,
            ci=bootstrap_mean(likeness, m.subjects), note=_note(m, truth, r)),
        row("verification", f"verification|far=0.01|{id_}", passed.rate, n, up=True,
            ci=None if passed.reason else bootstrap_mean(accepted, m.subjects), note=note),
    ]  # fmt: skip


def identity_cosines(m: Measured) -> npt.NDArray[np.float64]:
    """Return the cosine of each sample to its reference [N]; 0 where the generator failed."""
    assert m.references is not None
    r = m.references
    out = np.zeros(len(m.labels))
    out[m.kept] = cosine(m.generated[r.network]["embeddings"], r.embeddings[r.rows[m.kept]])
    return out


def _note(m: Measured, truth: npt.NDArray[np.float64], r: References) -> str:
    words = [f"targets reach {truth.mean():.3f}", failed_note(m, "0")]
    return ", ".join(word for word in words if word)

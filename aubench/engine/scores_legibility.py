"""Scores of expressions that a vision-language model reads in generated images."""

from __future__ import annotations

import numpy as np

from aubench.engine.measured import Measured
from aubench.engine.rows import missing, row
from aubench.metrics.bootstrap import bootstrap_mean
from aubench.metrics.expressions import AMBIGUOUS, load_expressions
from aubench.metrics.legibility import read_as
from aubench.record import ScoreRow

NETWORK = "legibility"


def legibility(m: Measured) -> list[ScoreRow]:
    """Return how often, and with what probability, a face reads as its AUs' expression."""
    if NETWORK not in m.generated:
        names = [("legibility", True), ("legibility_p", True)]
        out = missing(m, names, m.reasons[NETWORK])
        return [line.model_copy(update={"informative": False}) for line in out]
    table = load_expressions()
    intended = table.intended(m.labels)
    shown = np.nonzero(intended >= 0)[0]
    wanted, subjects = intended[shown], [m.subjects[i] for i in shown]
    whole = np.zeros((len(m.labels), len(table.names)), np.float32)  # a failed sample reads as none
    whole[m.kept] = m.generated[NETWORK]["probabilities"]
    right, chance = read_as(whole[shown], wanted)
    best, likely = read_as(m.targets[NETWORK]["probabilities"][shown], wanted)
    unclear, n = int((intended == AMBIGUOUS).sum()), len(shown)
    left = f"{len(intended) - n} of {len(intended)} samples left out, {unclear} of them ambiguous"
    about = f"{m.tags[NETWORK].rsplit(' ', 1)[0]}|n={n}"
    if not n:
        note = f"perception by a model; {left}"
        return [row(name, f"{name}|{about}", None, 0, up=True, informative=False, note=note)
                for name in ("legibility", "legibility_p")]  # fmt: skip
    constant = np.bincount(wanted).max() / n
    level = f"chance {1 / len(table.names):.3f}"
    return [
        row("legibility", f"legibility|{about}", float(right.mean()), n, up=True,
            ci=bootstrap_mean(right.astype(np.float64), subjects), informative=False,
            note=f"perception by a model; targets reach {best.mean():.3f}, {level}, "
                 f"one answer to all {constant:.3f}; {left}"),
        row("legibility_p", f"legibility-probability|{about}", float(chance.mean()), n, up=True,
            ci=bootstrap_mean(chance, subjects), informative=False,
            note=f"perception by a model; targets reach {likely.mean():.3f}, {level}"),
    ]  # fmt: skip

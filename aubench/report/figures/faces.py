"""Figures of faces: behaviours by methods as in the paper's Figure 4, and the worst samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.comparison.comparison import check
from aubench.comparison.runs import Run
from aubench.errors import AubenchError
from aubench.facs import AUS, combination_name, load_facs, parse_aus
from aubench.metrics.action_units.aaad import cosines
from aubench.metrics.evaluation_data import EvaluationData
from aubench.report.figures.style import draw
from aubench.storage.run_folder import read_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = npt.NDArray[np.uint8] | None
POSITIVE, NEGATIVE = frozenset({6, 12}), frozenset({1, 4, 15, 17})
"""Single AUs that lean towards a positive or a negative expression."""


def behaviours(run: Run) -> dict[str, int]:
    """Return a row for each kind of behaviour of the paper's Figure 4, the first that fits.

    Kinds: three conflicting AUs or more, several AUs without conflict, a single positive AU, a
    single negative one, two AUs that conflict. A kind that the protocol lacks is left out.
    """
    facs = load_facs()

    def clash(aus: frozenset[int]) -> int:
        return len(facs.conflicts_in(aus))

    kinds: dict[str, Callable[[frozenset[int]], bool]] = {
        "conflicting, complex": lambda aus: len(aus) >= 3 and clash(aus) > 0,
        "without conflict": lambda aus: len(aus) >= 2 and clash(aus) == 0,
        "single, positive": lambda aus: len(aus) == 1 and aus <= POSITIVE,
        "single, negative": lambda aus: len(aus) == 1 and aus <= NEGATIVE,
        "conflicting pair": lambda aus: len(aus) == 2 and clash(aus) > 0,
    }
    labels, found = run.samples.labels(), dict[str, int]()
    for kind, fits in kinds.items():
        for i, row in enumerate(labels):
            active = frozenset(au for au, on in zip(AUS, row, strict=True) if on)
            if i not in found.values() and fits(active) and run.ids[i] not in run.folder.failures:
                found[kind] = i
                break
    return found


def rows_of(run: Run, wanted: Sequence[str]) -> dict[str, int]:
    """Return the rows of sample ids, or of the first sample of a set of AUs.

    Raises:
        AubenchError: No sample of that name or set.
    """
    names, found = [str(c) for c in run.samples.frame["combination"]], {}
    for text in wanted:
        if text in run.ids:
            found[text] = run.ids.index(text)
            continue
        name = "+".join(map(str, parse_aus(text))) or "neutral"
        if name not in names:
            raise AubenchError(
                f"no sample of {run.protocol.name} has exactly the AUs {name}",
                "name another set or a sample id",
            )
        found[text] = names.index(name)
    return found


def faces(runs: Sequence[Run], wanted: Sequence[str], path: Path) -> Path:
    """Draw behaviours by methods: a row each behaviour, reference, target, then each run.

    Raises:
        AubenchError: Runs of different samples, or a wanted one is missing.
    """
    for other in runs[1:]:
        check(runs[0], other)
    run = runs[0]
    rows = rows_of(run, wanted) if wanted else behaviours(run)
    if not rows:
        raise AubenchError(f"no behaviour to show in {run.protocol.name}", "name some with --aus")
    labels = run.samples.labels()
    side = {i: combination_name(labels[i]) for i in rows.values()}
    heads = ["reference", "target", *(other.name for other in runs)]
    lines = [[*_given(run, i), *(_made(other, i) for other in runs)] for i in rows.values()]
    texts = [
        f"{kind}\nAU {side[i]}" if kind != side[i] else f"AU {side[i]}" for kind, i in rows.items()
    ]
    return _sheet(path, lines, heads, texts, [])


def failures(run: Run, count: int, path: Path) -> Path:
    """Draw the samples with most AUs wrong by the second detector, of equals the lowest cosine.

    Raises:
        AubenchError: The run has no AUs detected.
    """
    if "aaad" not in run.metrics():
        raise AubenchError(f"{run.folder.path} has no AUs detected", "run with --metrics aaad,au")
    data = run.evaluation_data(["aaad", "au"])
    score, found = _cosine(data), data.detected(data.independent_detector)
    labels, judged = run.samples.labels(), data.labels_for(data.independent_detector)
    wrong = ((found != (judged == 1)) & (judged >= 0)).sum(1)
    for i, name in enumerate(run.ids):
        wrong[i] = len(AUS) if name in run.folder.failures else wrong[i]
    order = [int(i) for i in np.lexsort((score, -wrong))[:count]]
    lines = [[*_given(run, i), _made(run, i)] for i in order]
    texts = [f"{run.ids[i]}\n{wrong[i]} AUs wrong\ncosine {score[i]:.3f}" for i in order]
    under = [
        f"commanded {combination_name(labels[i])}, detected "
        + ("failed" if run.ids[i] in run.folder.failures else combination_name(found[i]))
        for i in order
    ]
    return _sheet(path, lines, ["reference", "target", run.name], texts, under)


def _cosine(data: EvaluationData) -> npt.NDArray[np.float64]:
    return cosines(data.probabilities(data.independent_detector), data.target_au_probabilities)


def _given(run: Run, i: int) -> list[Picture]:
    frame, images, size = run.samples.frame, run.images(), run.record.protocol.size
    return [images.load(str(frame[column].iloc[i]), size) for column in ("reference", "target")]


def _made(run: Run, i: int) -> Picture:
    path = run.folder.image(run.ids[i])
    return read_png(path) if path.is_file() else None


def _sheet(
    path: Path,
    lines: Sequence[Sequence[Picture]],
    heads: Sequence[str],
    texts: Sequence[str],
    under: Sequence[str],
) -> Path:
    """Write a grid of pictures with heads above, texts left, and lines of text below each row."""

    def fill(figure: Figure) -> None:
        axes = figure.subplots(len(lines), len(heads), squeeze=False)
        for j, head in enumerate(heads):
            axes[0][j].set_title(head, fontsize=8)
        for i, line in enumerate(lines):
            for j, picture in enumerate(line):
                _show(axes[i][j], picture)
            axes[i][0].set_ylabel(texts[i], rotation=0, ha="right", va="center", fontsize=7)
            if under:
                axes[i][0].set_xlabel(under[i], fontsize=7, loc="left")

    return draw(path, (1.2 + 1.15 * len(heads), 0.3 + 1.25 * len(lines)), fill)


def _show(panel: Axes, picture: Picture) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    if picture is None:
        panel.text(0.5, 0.5, "failed", ha="center", va="center", transform=panel.transAxes)
        panel.set_aspect("equal")
    else:
        panel.imshow(picture)

"""The rows of the paper's ablations, and how one is trained: Table 3 and Table 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from aubench.generators.contract import AblationRow, Training
from aubench.storage.files import atomic_path

TEXT = frozenset({"text", "reference"})
EVERY = "appearance+structure+vae"

LEFT_OUT = {
    "all": "",
    "no-structure": "structure",
    "no-appearance": "appearance",
    "no-vae": "vae",
    "no-tokens": EVERY,
}
TITLES = {
    "all": "ALL",
    "no-structure": "without structure tokens",
    "no-appearance": "without appearance tokens",
    "no-vae": "without VAE tokens",
    "no-tokens": "without ALL",
}
LABELS = "labels"


def _rows() -> dict[str, tuple[AblationRow, Mapping[str, str]]]:
    found: dict[str, tuple[AblationRow, Mapping[str, str]]] = {}
    for codec, loss in (("anatomical", "with"), ("plain", "without")):
        for name, left in LEFT_OUT.items():
            title = f"{loss} anatomical loss, {TITLES[name]}"
            row = AblationRow(f"{codec}-{name}", "Table 3", title, TEXT)
            options = {"without": left} if left else {}
            found[row.name] = row, MappingProxyType(options)
    labels = AblationRow(
        LABELS,
        "Table 5",
        "AU labels through a perceptron",
        frozenset({"au", "reference"}),
    )
    found[LABELS] = labels, MappingProxyType({"input": "labels"})
    return found


OPTIONS = {name: options for name, (_, options) in _rows().items()}
"""What each row sets."""

ROWS = tuple(row for row, _ in _rows().values())
"""Table 3's ten rows, and Table 5's second; its first is ``anatomical-all``."""


def codec_of(row: AblationRow) -> str:
    """Return which stage I a row has: ``anatomical`` or ``plain``."""
    return "plain" if row.name.startswith("plain") else "anatomical"


def fit_row(row: AblationRow, training: Training) -> Path:
    """Train one row below ``training.out``; return its weights.

    ``codec-anatomical`` and ``codec-plain`` hold the two first stages, which rows share. Stage II
    has the same steps, draws and seed in every row. ``--steps`` are stage II's; options with the
    prefix ``codec.`` are stage I's alone.

    Raises:
        AubenchError: As ``fit``.
    """
    from vqauface.training.fit import check_encoders, fit

    kind = codec_of(row)
    first = training.out / f"codec-{kind}"
    given = dict(training.options)
    codec = {k.removeprefix("codec."): v for k, v in given.items() if k.startswith("codec.")}
    others = {k: v for k, v in given.items() if not k.startswith("codec.")}
    if kind == "plain":
        codec["anatomical"] = "0"
    second = replace(training, options=others | OPTIONS[row.name])
    if not (first / "stage1.checkpoint.pt").is_file() or not _done(first):
        check_encoders(second)
        fit(replace(training, out=first, stage=1, steps=None, options=others | codec))
    place = training.out / row.name
    _share(first, place)
    return fit(replace(second, out=place, stage=2))


def _done(folder: Path) -> bool:
    """Return whether a first stage is finished; the checkpoint of one that is not resumes."""
    from aubench.training.checkpoint import read_checkpoint

    state = read_checkpoint(folder / "stage1.checkpoint.pt")
    return bool(state["step"] >= (state["settings"]["steps"] or 0))


def _share(first: Path, place: Path) -> None:
    """Let a row's folder have the first stage as a link; the codes lie beside what it points to."""
    place.mkdir(parents=True, exist_ok=True)
    target = place / "stage1.checkpoint.pt"
    if not (target.exists() or target.is_symlink()):
        with atomic_path(target) as temporary:
            temporary.symlink_to(Path("..") / first.name / target.name)

"""The table by which the bed is judged, measured on subjects that nobody looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aubench.audit.synfacs import detector_measures as by_detector
from aubench.audit.synfacs import witness_measures as by_witness
from aubench.audit.synfacs.beds import BEDS, Bed, Face, active
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.storage.files import write_text
from aubench.storage.text_files import read_json


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        measure: What was measured.
        value: What was found, in words and figures.
        wanted: The target.
        met: Whether it is met; None where there is nothing to meet.
        details: Figures behind it.
    """

    measure: str
    value: str
    wanted: str
    met: bool | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        train: Subjects that the witness' reader is fitted on.
        test: Fresh subjects that it is tested on.
        faces: Fresh faces for the detectors.
        ramps: Fresh subjects of ramps and layers.
        seed: Seed of the choice of subjects.
    """

    train: int = 100
    test: int = 40
    faces: int = 400
    ramps: int = 8
    seed: int = 2026


def audit_synfacs(name: str, extent: Extent, out: Path) -> list[Row]:
    """Measure a bed, and write ``audit.json`` and ``audit.md`` into a folder.

    What is measured is kept line by line, so that the same command goes on after an interruption.

    Args:
        name: ``synfacs`` or ``synfacs2``.
        extent: How much.
        out: Folder.

    Raises:
        AubenchError: Unknown bed. A measure whose networks are missing stands in the table with
            the reason.
    """
    if name not in BEDS:
        raise AubenchError(
            f"unknown bed '{name}'{suggest(name, BEDS)}", f"one of {', '.join(BEDS)}"
        )
    bed, rows = BEDS[name], []
    for key, measure in MEASURES.items():
        kept = out / "measures" / f"{key}.json"
        if kept.is_file():
            rows.append(Row(**read_json(kept)))
            continue
        try:
            row = measure(bed, extent)
        except AubenchError as error:
            # Without one network the others can still be asked; the next call tries it again.
            rows.append(Row(key, f"— ({error.message})", "—", None, {}))
            continue
        if row is not None:
            write_text(kept, json.dumps(asdict(row), indent=1) + "\n")
            rows.append(row)
    whole = {"bed": name, "extent": asdict(extent), "rows": [asdict(row) for row in rows]}
    write_text(out / "audit.json", json.dumps(whole, indent=1) + "\n")
    write_text(out / "audit.md", table(rows))
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    head = ["| measure | found | wanted | met |", "|---|---|---|---|"]
    said = {True: "yes", False: "**no**", None: "—"}
    lines = [f"| {r.measure} | {r.value} | {r.wanted} | {said[r.met]} |" for r in rows]
    return "\n".join([*head, *lines]) + "\n"


def _landmarker() -> Any:
    from aubench.networks.face_landmarker.landmarker import FaceLandmarker

    return FaceLandmarker.load()


def _clay(bed: Bed, extent: Extent) -> Row | None:
    layers = "clay" if bed.layered else "whole"
    found = by_witness.reader_auc(
        bed, _landmarker(), layers, extent.train, extent.test, extent.seed
    )
    low, high = found["interval"]
    worst = min(found["AUs"], key=found["AUs"].__getitem__)
    value = f"{found['mean']:.3f} [{low:.3f}, {high:.3f}], least {worst} {found['AUs'][worst]:.2f}"
    met = found["mean"] >= 0.95 and min(found["AUs"].values()) >= 0.85
    what = f"witness reader on {layers}, mean AUC of 12 AUs, fresh subjects"
    return Row(what, value, ">= .95, no AU < .85", met, found)


def _monotone(bed: Bed, extent: Extent, condition: str) -> Row | None:
    if condition == "wild" and not bed.layered:
        return None
    people = list(bed.fresh[100 : 100 + extent.ramps]) if len(bed.fresh) > 200 else list(bed.fresh)
    found = by_witness.monotone(bed, _landmarker(), people[: extent.ramps], condition)
    good = [au for au, rho in found.items() if rho >= by_witness.MONOTONE]
    low = ", ".join(f"{au} {rho:.2f}" for au, rho in found.items() if au not in good)
    value = f"{len(good)} of {len(found)}" + (f" ({low})" if low else "")
    what = f"witness zero-shot monotone A to E within a person, {condition}"
    return Row(what, value, "every AU with a live shape", len(good) == len(found), found)


def _anatomy(bed: Bed, extent: Extent) -> Row | None:
    if not bed.layered:
        return None
    from aubench.synfacs2.anatomy.actions import ANATOMY, displacements

    off, details = [], {}
    for au, reaches in ANATOMY.items():
        moved = displacements(active((au,), 5.0))
        for r in reaches:
            found = float(moved[r.landmark][r.axis])
            key = f"AU{au} {r.landmark} {['out', 'up', 'forward'][r.axis]}"
            details[key] = [round(found, 2), r.millimetres]
            if abs(found - r.millimetres) > max(0.15 * abs(r.millimetres), 0.6):
                off.append(key)
    value = f"{len(details) - len(off)} of {len(details)}" + (
        f", off: {', '.join(off)}" if off else ""
    )
    return Row(
        "landmarks against the table of anatomy, within 15 %", value, "all", not off, details
    )


def _paste(bed: Bed, extent: Extent) -> Row:
    drawn = by_detector.occurring(bed, extent.faces, "studio", extent.seed)
    images = by_detector.pasted(bed, drawn)
    details = {}
    for d in by_detector.detectors(bed):
        true, fake = (by_detector.f1(d, x, drawn.labels) for x in (drawn.targets, images))
        details[d.name] = {"decals": fake, "targets": true, "share": fake / true}
    worst = max(row["share"] for row in details.values())
    value = ", ".join(f"{name} {row['share']:.2f}" for name, row in details.items())
    return Row(
        "decals, share of the renderer's F1, own detectors", value, "<= .35", worst <= 0.35, details
    )


def _paste_witness(bed: Bed, extent: Extent) -> Row:
    drawn = by_detector.occurring(bed, extent.faces, "studio", extent.seed)
    images = by_detector.pasted(bed, drawn)
    true, fake = (by_detector.witness_f1(drawn, x) for x in (drawn.targets, images))
    details = {"decals": fake, "targets": true, "share": fake / true}
    what = "decals, share of the renderer's F1, witness"
    return Row(what, f"mp-geo {fake / true:.2f}", "<= .25", fake / true <= 0.25, details)


def _attack(bed: Bed, extent: Extent) -> Row:
    drawn = by_detector.occurring(bed, extent.faces // 4, "studio", extent.seed)
    details = by_detector.attack_transfer(bed, drawn)
    value = ", ".join(
        f"{name} {', '.join(f'{how} {score:.3f}' for how, score in row.items())}"
        for name, row in details.items()
    )
    return Row("attack of 4/255 on the references, F1 of own detectors", value, "—", None, details)


def _texture(bed: Bed, extent: Extent) -> Row:
    from aubench.generators.pasting import with_texture

    drawn = by_detector.occurring(bed, extent.faces, "studio", extent.seed)
    images = with_texture(drawn.references, drawn.targets)
    details = {d.name: by_detector.f1(d, images, drawn.labels) for d in by_detector.detectors(bed)}
    value = ", ".join(f"{name} {score:.3f}" for name, score in details.items())
    met = max(details.values()) <= 0.35
    return Row(
        "reference + high-pass of the target, F1 of own detectors", value, "<= .35", met, details
    )


def _layers(bed: Bed, extent: Extent) -> Row | None:
    if not bed.layered:
        return None
    people = list(bed.fresh[300 : 300 + extent.ramps])
    found = {
        layers: by_detector.layer_probabilities(bed, people, layers)
        for layers in ("whole", "geometry", "wrinkles")
    }
    means = {k: float(np.mean(list(v.values()))) for k, v in found.items()}
    value = f"geometry alone {means['geometry']:.2f}, wrinkles alone {means['wrinkles']:.2f}"
    met = means["geometry"] >= 0.80 and means["wrinkles"] <= 0.20
    what = "own detectors at level 4, mean probability of the commanded AU"
    named = {
        k: {n: dict(zip(map(str, AUS), p, strict=True)) for n, p in v.items()}
        for k, v in found.items()
    }
    return Row(what, value, "geometry >= .80, wrinkles <= .20", met, named | {"means": means})


def _true(bed: Bed, extent: Extent, condition: str) -> Row | None:
    if condition == "wild" and not bed.layered:
        return None
    drawn = by_detector.occurring(bed, extent.faces, condition, extent.seed)
    details = {
        d.name: by_detector.f1(d, drawn.targets, drawn.labels) for d in by_detector.detectors(bed)
    }
    value = ", ".join(f"{name} {score:.3f}" for name, score in details.items())
    scores = list(details.values())
    if condition == "studio":
        return Row(
            "own detectors on true renders, studio, F1",
            value,
            ">= .90",
            min(scores) >= 0.9,
            details,
        )
    met = all(0.70 <= score <= 0.85 for score in scores)
    return Row("own detectors on true renders, wild, F1", value, ".70 to .85", met, details)


def _memory(bed: Bed, extent: Extent) -> Row:
    target, remembered, detector = by_detector.memory_gap(bed, extent.faces)
    value = f"{target - remembered:.3f} ({target:.3f} and {remembered:.3f} by {detector})"
    details = {"targets": target, "nearest": remembered}
    what = "unseen: F1 of the renderer minus that of the nearest training faces"
    return Row(what, value, ">= .30", target - remembered >= 0.3, details)


def _cost(bed: Bed, extent: Extent) -> Row:
    from aubench.audit.synfacs.beds import render_face

    face = Face(bed.train[7], active((6, 12, 25), 3.0), 1)
    render_face(bed, face)
    best = float("inf")
    for i in range(20):
        start = time.process_time()
        render_face(bed, Face(face.subject, face.values, i + 2))
        best = min(best, time.process_time() - start)
    details = {"milliseconds": round(best * 1000, 1)}
    return Row(
        "processor time of a 128 px face, one core, best of 20",
        f"{best * 1000:.0f} ms",
        "<= 45 ms",
        best <= 0.045,
        details,
    )


MEASURES: dict[str, Callable[[Bed, Extent], Row | None]] = {
    "anatomy": _anatomy,
    "cost": _cost,
    "clay": _clay,
    "monotone-studio": lambda bed, extent: _monotone(bed, extent, "studio"),
    "monotone-wild": lambda bed, extent: _monotone(bed, extent, "wild"),
    "true-studio": lambda bed, extent: _true(bed, extent, "studio"),
    "true-wild": lambda bed, extent: _true(bed, extent, "wild"),
    "decals": _paste,
    "decals-witness": _paste_witness,
    "attack": _attack,
    "texture": _texture,
    "layers": _layers,
    "unseen": _memory,
}
"""By name of the file that each is kept in, in the order of the table."""

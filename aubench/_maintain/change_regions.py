"""Finds where each AU moves the skin: ``python -m aubench._maintain.change_regions FILE``.

Read off the geometry of train subjects in their own scenes, so that shape and pose are covered; the
result ships as ``aubench/metrics/faces/regions.json`` and holds for any crop aligned to the same
template.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.storage.files import write_text
from aubench.synfacs.anatomy.actions import activate, deform
from aubench.synfacs.anatomy.head import BODY, head
from aubench.synfacs.anatomy.identity import identity
from aubench.synfacs.keys import SPLITS, subject_name
from aubench.synfacs.rendering.camera import FRAMINGS, camera
from aubench.synfacs.rendering.scene import scene

GRID = 32
"""Cells along a side."""

LEAST = 0.004
"""Movement that counts, as a share of the image's side: half a pixel at 128."""

SHARE = 0.1
"""A cell belongs to an AU if it moves in this share of the faces."""

Mask = npt.NDArray[np.bool_]


def moved_cells(subject: str, au: int, scene_seed: int) -> Mask:
    """Return the cells bool [GRID, GRID] in which the AU, at intensity E, moves the skin."""
    face, at = identity(subject), scene(scene_seed)
    view = camera(face, at, 1, "face")
    still, moved = (
        view.project(view.pose(deform(face.coarse, _motion(au if on else None, face, at))))
        for on in (False, True)
    )
    h = head()
    # Depth counts too: skin that moves away changes its shade.
    far = np.linalg.norm((moved - still) / (1, 1, FRAMINGS["face"][0]), axis=1) > LEAST
    seen = (h.vertex_part == BODY) & (h.inside < 0.3) & (h.mean[:, 2] > 0)
    out = np.zeros((GRID, GRID), bool)
    for place in (still, moved):
        cells = np.floor(place[far & seen][:, :2] * GRID).astype(int)
        cells = cells[((cells >= 0) & (cells < GRID)).all(1)]
        out[cells[:, 1], cells[:, 0]] = True
    return out


def _motion(au: int | None, face: Any, at: Any) -> Any:
    values = np.array([5.0 if name == au else 0.0 for name in AUS])
    motion = activate(values, face.looks.tilt)
    motion.shape("jawOpen", at.jaw)
    return motion


def action_regions(subjects: Sequence[int], scenes: int = 3) -> Mask:
    """Return the regions bool [12, GRID, GRID], closed and widened by one cell.

    Args:
        subjects: Numbers of the subjects looked at.
        scenes: Scenes of each.
    """
    from scipy.ndimage import binary_closing, binary_dilation

    out = np.zeros((len(AUS), GRID, GRID), bool)
    for k, au in enumerate(AUS):
        hits = [
            moved_cells(subject_name(s), au, s * 100 + i) for s in subjects for i in range(scenes)
        ]
        often = np.mean(hits, 0) >= SHARE
        # Wrinkles and shades reach a little beyond the skin that moves.
        out[k] = binary_dilation(binary_closing(often, iterations=1))
    return out


def main(path: Path) -> None:
    """Write the regions as rows of 0 and 1."""
    people = list(SPLITS["train"])[::7]
    regions = action_regions(people)
    table = {
        "grid": GRID,
        "least movement": LEAST,
        "share of faces": SHARE,
        "subjects": len(people),
        "regions": {
            f"AU{au}": ["".join(map(str, line)) for line in region.astype(int)]
            for au, region in zip(AUS, regions, strict=True)
        },
    }
    write_text(path, json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

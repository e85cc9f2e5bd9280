"""The installed finders of faces, ours and those of other packages, by their entry points.

An entry point of ``aubench.face_finders`` holds a function of a torch device that returns a
``FaceFinder``. The default one lives above the data sets, with the networks; so it too is looked up
here by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.datasets.alignment import Face, FaceFinder
from aubench.errors import AubenchError
from aubench.plugins import PluginGroup

Image = npt.NDArray[np.uint8]

GROUP = PluginGroup("aubench.face_finders", "finder of faces")
DEFAULT_FINDER = "mp-face"

MINIMUM_SCORE = 0.9
"""Of MTCNN."""
SEARCHED = 640
"""Longest side in pixels at which MTCNN looks first."""


@lru_cache(maxsize=2)
def load_finder(name: str = DEFAULT_FINDER, device: str = "cpu") -> FaceFinder:
    """Load a finder of faces.

    Raises:
        MissingWeightsError: Its weights were not fetched.
        AubenchError: Unknown name, or a package is not installed.
    """
    load = GROUP.load(name)
    with GROUP.calling(name, "loading"):
        found: FaceFinder = load(device)
    if not callable(found):
        raise GROUP.wrong(name, "a function of a device that returns a finder of faces")
    return found


class MtcnnFinder:
    """MTCNN of the package ``facenet-pytorch``, which is no dependency of ours.

    The largest face of each image. A picture longer than 640 pixels is searched small first, which
    is several times faster; whole if in vain.

    Args:
        device: Torch device.
        smallest: Side in pixels of the smallest face looked for.

    Raises:
        AubenchError: The package is not installed.
    """

    def __init__(self, device: str = "cpu", smallest: int = 20) -> None:
        try:
            from facenet_pytorch import MTCNN
        except ModuleNotFoundError as error:
            raise AubenchError(
                "the finder of faces mtcnn needs the package facenet-pytorch",
                f"`pip install --no-deps facenet-pytorch`, or take {DEFAULT_FINDER}",
            ) from error
        self._finder: Any = MTCNN(
            keep_all=True, device=device, post_process=False, min_face_size=smallest
        )

    def __call__(self, image: Image) -> Face | None:
        """Return the largest face of uint8 RGB [H, W, 3], None where there is none."""
        from PIL import Image as Picture

        scale = SEARCHED / max(image.shape)
        if scale < 1:
            side = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            small = Picture.fromarray(image).resize(side, Picture.Resampling.BICUBIC)
            face = self._search(np.asarray(small, np.uint8))
            if face is not None:
                return face.scaled(1 / scale)
        return self._search(image)

    def _search(self, image: Image) -> Face | None:
        boxes, scores, points = self._finder.detect(image, landmarks=True)
        return None if boxes is None else largest(boxes, scores, points)


def largest(boxes: Sequence[Any], scores: Sequence[Any], points: Sequence[Any]) -> Face | None:
    """Return the face of the largest box among those sure enough, None where there is none."""
    sure = [i for i, score in enumerate(scores) if score is not None and score >= MINIMUM_SCORE]
    if not sure:
        return None
    box = np.asarray([np.asarray(boxes[i], np.float32) for i in sure])
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    chosen = int(area.argmax())
    i = sure[chosen]
    notes = ("several faces",) if len(sure) > 1 else ()
    points_of = np.asarray(points[i], np.float32)
    return Face(box[chosen], points_of, float(scores[i]), len(sure), notes)

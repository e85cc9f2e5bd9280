"""py-feat's AU models behind the interface of a detector; an optional extra.

Only py-feat's documented interface is used: ``feat.Detectorv1(...)`` with an AU model of its own,
``feat.Detectorv2(...)``, whose one network reads AUs among other things, their ``detect`` on image
files, and the columns ``input``, ``FaceScore`` and ``AU01``... of what they return. They look for
faces by themselves and fetch their weights on first use.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError, first_line, suggest
from aubench.facs import AUS
from aubench.networks.batches import check_images
from aubench.networks.detectors.detector import Detector
from aubench.storage.files import sha256_file

if TYPE_CHECKING:
    import pandas as pd

MULTITASK = "multitask"
"""The one network of py-feat 2: probabilities. Its weights are for non-commercial research."""

MODELS = ("xgb", "svm", MULTITASK)
"""Besides it, probabilities of gradient-boosted trees, and 0/1 of support vector machines."""

PARTS = {"face_model": "retinaface", "landmark_model": "mobilefacenet"}
"""What finds the face; emotions, identity and gaze are switched off."""

FOLDERS: dict[str, tuple[str, ...]] = {
    "xgb": ("retinaface", "mobilefacenet", "xgb_au"),
    "svm": ("retinaface", "mobilefacenet", "svm_au"),
    MULTITASK: ("retinaface", "face_multitask"),
}
"""Starts of the names of the weight folders that are used."""

AVAILABLE = frozenset((1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43))
"""AUs of py-feat 2.1; all of our twelve are among them."""


def column(au: int) -> str:
    """Return py-feat's name of an AU."""
    return f"AU{au:02d}"


def import_feat() -> Any:
    """Return py-feat's package.

    Raises:
        AubenchError: It is absent, or older than 2.1.
    """
    remedy = "pip install 'aubench[pyfeat]'"
    try:
        feat = importlib.import_module("feat")
    except ImportError as error:
        missing = "py-feat" if error.name in {"feat", None} else f"py-feat's {error.name}"
        raise AubenchError(f"{missing} is not installed", remedy) from error
    if not hasattr(feat, "Detectorv1"):
        version = getattr(feat, "__version__", "of unknown version")
        raise AubenchError(f"py-feat {version} is too old, 2.1 is needed", remedy)
    return feat


@dataclass(frozen=True)
class PyFeat(Detector):
    """A py-feat detector.

    Attributes:
        model: Py-feat's own detector object.
    """

    finds_faces: ClassVar[bool] = True

    model: Any

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; NaN where no face is found.

        Images go one by one, since py-feat's results change with the batch.
        """
        from PIL import Image

        check_images(images)
        if not len(images):
            return np.empty((0, len(AUS)), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.png") for i in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                Image.fromarray(image).save(path)
            found = self.model.detect(
                paths, data_type="image", batch_size=1, num_workers=0, progress_bar=False
            )
        return best_faces(found, paths, self.mask)


def best_faces(
    found: pd.DataFrame, paths: list[str], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return float32 [N, 12] of the surest face in each image.

    Args:
        found: A row a face, with ``input``, ``FaceScore`` and AU columns.
        paths: Paths of the images, as in ``input``.
        mask: bool [12], the AUs to take; others are NaN.

    Raises:
        AubenchError: A column is absent.
    """
    columns = [column(au) for au, known in zip(AUS, mask, strict=True) if known]
    absent = [name for name in ("input", "FaceScore", *columns) if name not in found.columns]
    if absent:
        raise AubenchError(f"py-feat's answer lacks {absent[0]}", "install py-feat 2.1")
    score = found["FaceScore"].to_numpy(np.float64)
    values = found[columns].to_numpy(np.float32)
    source = found["input"].astype(str).to_numpy()
    out = np.full((len(paths), len(AUS)), np.nan, np.float32)
    for row, path in zip(out, paths, strict=True):
        faces = np.flatnonzero((source == path) & np.isfinite(score))
        if len(faces):
            row[mask] = values[faces[np.argmax(score[faces])]]
    return out


def weights_digest(feat: Any, model: str) -> str:
    """Return a sha256 over the weight files that py-feat has fetched for its parts."""
    io = importlib.import_module("feat.utils.io")
    starts = tuple(f"models--py-feat--{part}" for part in FOLDERS[model])
    files = sorted(
        path
        for path in Path(io.get_resource_path()).glob("models--py-feat--*/snapshots/*/*")
        if path.is_file() and path.parents[2].name.startswith(starts)
    )
    lines = [f"py-feat {feat.__version__} {model}"]
    lines += [f"{path.parents[2].name}/{path.name} {sha256_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(name: str, device: str, *, weights: Path | None = None, **options: Any) -> PyFeat:
    """Load ``py-feat`` (``py-feat:xgb``), ``py-feat:svm`` or ``py-feat:multitask``.

    Args:
        name: Name with the model.
        device: Torch device.
        weights: Weights of ``multitask``, in place of those that py-feat fetches.
        options: None; those of other detectors are passed over.

    Raises:
        AubenchError: The model is unknown, py-feat is absent, or its weights cannot be had.
    """
    model = name.partition(":")[2] or MODELS[0]
    if model not in MODELS:
        raise AubenchError(
            f"unknown model '{model}' of py-feat{suggest(model, MODELS)}",
            f"choose from {', '.join(MODELS)}",
        )
    if weights is not None and (model != MULTITASK or not weights.is_file()):
        fault = f"has no file {weights}" if model == MULTITASK else "takes no file"
        raise AubenchError(f"py-feat:{model} {fault}", f"py-feat:{MULTITASK}=FILE")
    feat = import_feat()
    try:
        inner = _model(feat, model, device, weights)
    except OSError as error:  # what a failed download raises
        raise AubenchError(
            f"py-feat cannot get its weights: {first_line(error)}",
            "connect to the network once; it keeps them",
        ) from error
    digest = weights_digest(feat, model)
    if weights is not None:
        digest = hashlib.sha256(f"{digest} {sha256_file(weights)}".encode()).hexdigest()
    mask = np.array([au in AVAILABLE for au in AUS], np.bool_)
    card = {"name": f"py-feat:{model}", "py-feat": feat.__version__, "sha256": digest}
    card |= {} if model == MULTITASK else PARTS
    return PyFeat(
        f"py-feat:{model}",
        f"py-feat:{model}@{digest[:12]}|{feat.__version__}|own-face-search",
        digest,
        np.full(len(AUS), 0.5, np.float32),
        card,
        mask,
        inner,
    )


def _model(feat: Any, model: str, device: str, weights: Path | None) -> Any:
    """Return py-feat's own detector object; what is not asked of it is switched off.

    Raises:
        AubenchError: The multitask network is wanted, and this py-feat has none.
    """
    if model != MULTITASK:
        return feat.Detectorv1(
            **PARTS,
            au_model=model,
            emotion_model=None,
            identity_model=None,
            gaze_model=None,
            device=device,
        )
    if not hasattr(feat, "Detectorv2"):
        raise AubenchError(
            f"py-feat {feat.__version__} has no multitask network", "pip install 'aubench[pyfeat]'"
        )
    file = str(weights) if weights is not None else None
    return feat.Detectorv2(device=device, identity_model=None, multitask_weights=file, amp=False)

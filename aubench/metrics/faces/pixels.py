"""Pixel agreement with the target: root mean square, PSNR, SSIM (Wang et al. 2004).

They reward the same person in the same light in the same place and know nothing of expressions: a
copy of the reference scores high. Read them beside the controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from aubench.metrics.metric import (
    CORRELATION,
    DISTANCE,
    Metric,
    Need,
    PairBatch,
    PairStep,
    ScoreFacts,
)
from aubench.metrics.statistics.resampling import bootstrap_mean

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import Arrays, EvaluationData
    from aubench.records.record import ScoreRow

Images = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

WINDOW = 11
"""Side of SSIM's Gaussian window, sigma 1.5; smaller images have no SSIM."""


def _check(made: Images, target: Images) -> None:
    if made.shape != target.shape or made.ndim != 4 or made.dtype != np.uint8:
        raise ValueError(f"want two uint8 [N, H, W, 3], got {made.shape} and {target.shape}")


def rms(made: Images, target: Images) -> Vector:
    """Return the root mean square difference of each pair in grey levels 0..255, [N].

    Raises:
        ValueError: Shapes or types differ.

    >>> black = np.zeros((1, 16, 16, 3), np.uint8)
    >>> rms(black, black + 3).tolist()
    [3.0]
    """
    _check(made, target)
    gap = made.astype(np.float64) - target
    return np.asarray(np.sqrt((gap**2).reshape(len(gap), -1).mean(1)))


def psnr(distance: Vector) -> Vector:
    """Return the peak signal-to-noise ratio in dB of root mean square differences [N].

    Identical images have no finite value: NaN, to be left out of a mean and counted.

    >>> psnr(np.array([25.5])).round(6).tolist()
    [20.0]
    """
    with np.errstate(divide="ignore"):
        value = 20 * np.log10(255 / np.asarray(distance, np.float64))
    return np.where(np.isfinite(value), value, np.nan)


def ssim(made: Images, target: Images) -> Vector:
    """Return the structural similarity of each pair [N], -1..1, mean over pixels and channels.

    Gaussian window of 11 pixels, sigma 1.5, population covariance, range 255, as published;
    computed by scikit-image.

    Raises:
        ValueError: Shapes or types differ, or the images are smaller than the window.

    >>> face = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    >>> ssim(face, face).round(6).tolist()
    [1.0]
    """
    from skimage.metrics import structural_similarity

    _check(made, target)
    if min(made.shape[1:3], default=0) < WINDOW:
        raise ValueError(f"SSIM needs at least {WINDOW} px, got {made.shape[1:3]}")
    measure = cast("Any", structural_similarity)
    return np.array(
        [
            measure(
                a,
                b,
                channel_axis=2,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in zip(made, target, strict=True)
        ],
        np.float64,
    )


class Pixels(Metric):
    """Root mean square, PSNR and SSIM to the target."""

    name = "pixels"
    order = 90
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAIRS})
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "rms": ScoreFacts(
            "RMS", False, digits=2, unit="grey levels", failed_value=255.0, bounds=(0.0, 255.0)
        ),
        "psnr": ScoreFacts("PSNR", True, digits=2, unit="dB", failed_value=0.0, bounds=DISTANCE),
        "ssim": ScoreFacts("SSIM", True, failed_value=0.0, bounds=CORRELATION),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the means over samples; identical images have no PSNR."""
        n, tail = len(data), f"|to=target|n={len(data)}"
        distance, likeness = self.pair_values(data, "rms"), self.pair_values(data, "ssim")
        decibels = psnr(distance)
        finite = np.isfinite(decibels)
        same = int((~finite).sum())
        mean = float(decibels[finite].mean()) if finite.any() else None
        kept = [subject for subject, keep in zip(data.subjects, finite, strict=True) if keep]
        return [
            self.row(
                "rms",
                f"rms{tail}",
                float(distance.mean()),
                n,
                note=self.failed_note(data, "rms"),
                ci=bootstrap_mean(distance, data.subjects),
            ),
            self.row(
                "psnr",
                f"psnr{tail}",
                mean,
                int(finite.sum()),
                note=f"{same} identical images left out" if same else "",
                ci=bootstrap_mean(decibels[finite], kept) if finite.any() else None,
            ),
            self.row(
                "ssim",
                f"ssim|11 px{tail}",
                float(likeness.mean()),
                n,
                note=self.failed_note(data, "ssim"),
                ci=bootstrap_mean(likeness, data.subjects),
            ),
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return root mean square and SSIM of each sample."""
        return {name: self.pair_values(data, name) for name in ("rms", "ssim")}

    def pair_step(self, size: int, device: str) -> PairStep:
        """Return root mean square and SSIM of pairs."""
        return PairStep(_values, "rms, ssim 11 px")


def _values(batch: PairBatch) -> Arrays:
    a, b = batch.generated, batch.target
    return {"rms": rms(a, b).astype(np.float32), "ssim": ssim(a, b).astype(np.float32)}

"""LPIPS ``alex-v0.1`` (Zhang et al. 2018) through the ``lpips`` package, weights from our table."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.metric import (
    DISTANCE,
    Metric,
    Need,
    PairBatch,
    PairStep,
    ScoreFacts,
    UnavailableError,
)
from aubench.metrics.statistics.resampling import bootstrap_mean

if TYPE_CHECKING:
    from torch import Tensor

    from aubench.metrics.evaluation_data import Arrays, EvaluationData, Vector
    from aubench.records.record import ScoreRow

MINIMUM = 64
"""Smaller images leave AlexNet's last maps without content."""


@dataclass(frozen=True)
class Lpips:
    """The metric with its weights.

    Attributes:
        name: Name for caches.
        id: Net and version, as in metric ids.
        sha256: Digest of the backbone's tensors.
    """

    name: str
    id: str
    sha256: str
    device: str
    network: Any

    def __call__(
        self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float32]:
        """Return float32 [N], the distance of each pair of uint8 RGB [N, H, W, 3].

        Raises:
            TypeError: Another dtype or shape.
            ValueError: Different shapes, or images smaller than 64 px.
        """
        if first.shape != second.shape:
            raise ValueError(f"pairs differ in shape: {first.shape} and {second.shape}")
        if min(first.shape[1:3]) < MINIMUM:
            raise ValueError(f"LPIPS needs at least {MINIMUM} px, got {first.shape[1:3]}")
        from aubench.networks.extractors.extractor import in_micro_batches

        both = np.concatenate([first, second], axis=2)  # side by side, to be batched together

        def run(pairs: Tensor) -> dict[str, Tensor]:
            a, b = (pairs / 127.5 - 1).chunk(2, dim=3)
            return {"lpips": self.network(a, b).flatten()}

        if not len(first):
            return np.zeros(0, np.float32)
        return in_micro_batches(both, self.device, run)["lpips"]


@lru_cache(maxsize=1)
def load_lpips(device: str = "cpu") -> Lpips:
    """Load the metric.

    Raises:
        MissingWeightsError: AlexNet's weights are not on this machine.
    """
    from safetensors.torch import load_file

    from aubench.networks import external_weights as weights

    file = weights.path("lpips-alexnet")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torchvision's note on its argument names
        import lpips

        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    # lpips keeps AlexNet's convolutions in slices, under their torchvision numbers.
    slices = {"0": "slice1", "3": "slice2", "6": "slice3", "8": "slice4", "10": "slice5"}
    state = {
        f"{slices[name.split('.')[1]]}.{name.split('.', 1)[1]}": value
        for name, value in load_file(file).items()
    }
    network.net.load_state_dict(state, strict=True)
    network.eval().requires_grad_(False).to(device)
    digest = weights.entry("lpips-alexnet").tensors or ""
    return Lpips("lpips", "alex-v0.1", digest, device, network)


class PerceptualDistance(Metric):
    """The perceptual distance to the target."""

    name = "lpips"
    order = 40
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAIRS})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "lpips": ScoreFacts(
            "LPIPS", False, headline=True, in_paper=True, failed_value=1.0, bounds=DISTANCE
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the mean over samples."""
        n = len(data)
        id_ = f"lpips|alex-v0.1|to=target|n={n}"
        if self.name not in data.pairs:
            return [self.row("lpips", id_, None, n, note=data.unavailable[self.name])]
        values = self.pair_values(data, "lpips")
        return [
            self.row(
                "lpips",
                id_,
                float(values.mean()),
                n,
                note=self.failed_note(data, "lpips"),
                ci=bootstrap_mean(values, data.subjects),
            )
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return the distance of each sample."""
        return {"lpips": self.pair_values(data, "lpips")} if self.name in data.pairs else {}

    def pair_step(self, size: int, device: str) -> PairStep:
        """Return the distance of pairs.

        Raises:
            MissingWeightsError: AlexNet's weights are not on this machine.
            UnavailableError: The images are too small.
        """
        network = load_lpips(device)
        if size < MINIMUM:
            raise UnavailableError(f"images of {size} px are too small for LPIPS")

        def compute(batch: PairBatch) -> Arrays:
            return {"lpips": network(batch.generated, batch.target)}

        return PairStep(compute, network.sha256)

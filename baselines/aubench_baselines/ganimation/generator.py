"""GANimation (Pumarola et al., ECCV 2018): a reference face and AU intensities to a face.

Weights interchange with the official code in both directions: see ``ganimation_networks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.generators.contract import (
    Generator,
    GeneratorInfo,
    Request,
    Training,
    Unsupported,
    WeightSource,
)
from aubench.storage.files import sha256_file
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from aubench_baselines.ganimation.networks import Painter

SIZE = 128
OPENFACE = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""AUs of the official data, in the order of OpenFace's intensity columns; there is no AU 24."""
SCALE = 5.0
"""Intensities 0..5 are divided by this."""
MICRO_BATCH = 16
SHIPPED = Path(__file__).with_name("weights") / "ganimation-nano.safetensors"


def newest(folder: Path) -> Path:
    """Return the generator of the last epoch in a folder of official checkpoints.

    Raises:
        AubenchError: There is none.
    """
    found = {}
    for path in folder.glob("net_epoch_*_id_G.pth"):
        word = path.name.split("_")[2]
        if word.isdigit():
            found[int(word)] = path
    if not found:
        raise AubenchError(f"{folder} holds no net_epoch_N_id_G.pth", "name the file")
    return found[max(found)]


def read_card(path: Path, digest: str) -> dict[str, Any]:
    """Return the card beside a safetensors file, or an empty one.

    Raises:
        AubenchError: It is damaged, or of other weights.
    """
    place = path.with_name(path.name.removesuffix(".safetensors") + ".card.json")
    if path.suffix != ".safetensors" or not place.is_file():
        return {}
    try:
        card: dict[str, Any] = read_json(place)
        stated = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{place} is not a card of weights") from error
    if stated != digest:
        raise AubenchError(
            f"{path} has sha256 {digest[:12]}, its card says {stated[:12]}", "restore the file"
        )
    return card


def columns_of(count: int, card: dict[str, Any], where: str) -> tuple[int, ...]:
    """Return which AUs condition the weights.

    Raises:
        AubenchError: No card says so and the number tells nothing.
    """
    stated = tuple(int(au) for au in card.get("aus", ()))
    known = stated or {len(AUS): AUS, len(OPENFACE): OPENFACE}.get(count, ())
    if len(known) != count:
        raise AubenchError(
            f"{where} is conditioned on {count} AUs, not known which",
            f"known are {len(AUS)} (those of the protocols) and {len(OPENFACE)} (OpenFace)",
        )
    return known


def info_of(info: GeneratorInfo, card: dict[str, Any]) -> GeneratorInfo:
    """Return what a record says of weights that the user gave: what their card tells."""
    seen = card.get("data", {}).get("fingerprint", "unknown")
    training = card.get("scale", "unknown; weights given by the user")
    return replace(info, training=str(training), trained_on=(str(seen),))


class GANimation(Generator):
    """Reference face and AU intensities, or labels, to a face."""

    presets: ClassVar[tuple[str, ...]] = ("nano", "paper")
    stages: ClassVar[tuple[int, ...]] = ()
    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="ganimation",
        inputs=frozenset({"au", "reference"}),
        size=SIZE,
        training="nano preset, WGAN-GP without pairs, by aubench; not the paper's model",
        trained_on=("synfacs/train",),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="Pumarola et al., GANimation, ECCV 2018",
        summary="colour and attention from a face and AU intensities",
    )

    def __init__(
        self,
        painter: Painter,
        columns: tuple[int, ...],
        *,
        level: float = 1.0,
        side: int = 0,
        saturated: bool = False,
        digest: str | None = None,
        device: str = "cpu",
    ) -> None:
        self.painter = painter.to(device)
        self.columns, self.level, self.saturated = columns, level, saturated
        self.side = side  # of the images the weights were trained on; 0 for the size asked
        self.digest, self.device = digest, device

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Load the shipped nano model, a ``.pth`` or ``.safetensors`` file, or a folder of them.

        Args:
            weights: Where the weights come from.
            device: Torch device.
            dtype: ``float32``.
            options: ``saturate``, true to push attention towards 0 and 1; ``side``, of the images
                that weights without a card were trained on.

        Raises:
            AubenchError: Weights that are missing, damaged or of another model; other options.
        """
        from aubench_baselines.ganimation.networks import painter_of, read_state

        saturated, stated = _flag(options.pop("saturate", False)), str(options.pop("side", 0))
        if options:
            raise AubenchError(
                f"ganimation has no option '{next(iter(options))}'", "saturate or side"
            )
        if not stated.isdecimal() or int(stated) % 4:
            raise AubenchError(f"option side={stated} is no multiple of 4", "for example side=64")
        path = weights.path or SHIPPED
        if path.is_dir():
            path = newest(path)
        if not path.is_file():
            raise AubenchError(f"no GANimation weights at {path}", "train: docs/ganimation.md")
        digest = sha256_file(path)
        card = read_card(path, digest)
        painter = painter_of(read_state(path), str(path))
        columns = columns_of(painter.aus, card, str(path))
        level, side = float(card.get("label level", 1.0)), int(stated) or int(card.get("size", 0))
        model = cls(
            painter,
            columns,
            level=level,
            side=side,
            saturated=saturated,
            digest=digest,
            device=device,
        )
        if weights.path is not None:
            vars(model)["info"] = info_of(cls.info, card)
        return model

    @classmethod
    def fit(cls, training: Training) -> Path:
        """Train and return the weights; see ``aubench_baselines.ganimation.train``."""
        from aubench_baselines.ganimation.train import fit

        return fit(training)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights."""
        return self.digest

    def command(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the condition float32 [A]: intensity over 5, or ``level`` for a mere label.

        Raises:
            Unsupported: An AU is commanded that these weights do not know.
        """
        assert request.aus is not None
        values = np.where(request.aus > 0, np.float32(self.level), np.float32(0))
        if request.intensities is not None:
            known = np.isfinite(request.intensities)
            values = np.where(known, request.intensities / SCALE, values)
        by_number = dict(zip(AUS, values.tolist(), strict=True))
        foreign = [au for au, value in by_number.items() if value > 0 and au not in self.columns]
        if foreign:
            raise Unsupported(request.sample_id, f"these weights know no AU{foreign[0]}")
        return np.array([by_number.get(au, 0.0) for au in self.columns], np.float32)

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, 128, 128, 3]; each image depends on its request alone.

        Work is done in padded batches of one size, since the last bits of a convolution may
        depend on its shape.
        """
        import torch

        from aubench_baselines.ganimation.networks import to_float, to_pixels

        commands = np.stack([self.command(request) for request in batch])
        parts = []
        for i in range(0, len(batch), MICRO_BATCH):
            rows = [min(i + k, len(batch) - 1) for k in range(MICRO_BATCH)]
            references = [batch[r].reference for r in rows]
            x = to_float(np.stack([image for image in references if image is not None]))
            with torch.inference_mode():
                made = self._paint(x, torch.from_numpy(commands[rows]))
            parts.append(to_pixels(made)[: len(batch) - i])
        return np.concatenate(parts)

    def _paint(self, x: Tensor, aus: Tensor) -> Tensor:
        """Return [B, 3, H, W].

        Weights of another size see the reference shrunk; their colour and attention are enlarged,
        and what attention keeps is the reference at its full size.
        """
        import torch.nn.functional as F

        from aubench_baselines.ganimation.networks import blend, saturate

        x, aus = x.to(self.device), aus.to(self.device)
        whole, side = x.shape[2:], self.side
        if side in (0, x.shape[2]):
            colour, attention = self.painter(x, aus)
        else:
            small = F.interpolate(x, (side, side), mode="area")
            colour, attention = (
                F.interpolate(part, whole, mode="bilinear", align_corners=False)
                for part in self.painter(small, aus)
            )
        return blend(x, colour, saturate(attention) if self.saturated else attention)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    word = str(value).lower()
    if word not in words:
        raise AubenchError(f"option saturate={value} is neither true nor false")
    return words[word]

"""GANimation (Pumarola et al., ECCV 2018): a reference face and AU intensities to a face.

The networks hold the tensors of the official checkpoints under their official names, misspelling
included, so that weights interchange in both directions. Written from a description of the
method and its checkpoints; no line of the official code (GPL-3.0) was used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.files import sha256_file
from aubench.generator import (
    Generator,
    GeneratorInfo,
    Request,
    SampleFailure,
    Training,
    WeightSource,
)

SIZE = 128
OPENFACE = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""AUs of the official data, in the order of OpenFace's intensity columns; there is no AU 24."""
SCALE = 5.0
"""Intensities 0..5 are divided by this."""
MICRO_BATCH = 16
SHIPPED = Path(__file__).with_name("weights") / "ganimation-nano.safetensors"


def _unit(inner: int, outer: int, kernel: int, stride: int, pad: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inner, outer, kernel, stride, pad, bias=False),
        nn.InstanceNorm2d(outer, affine=True),
        nn.ReLU(inplace=True),
    ]


class Residual(nn.Module):
    """Two 3×3 convolutions around which the input is added; nothing follows the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_unit(width, width, 3, 1, 1), *_unit(width, width, 3, 1, 1)[:2])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, H, W]."""
        out: Tensor = x + self.main(x)
        return out


class Painter(nn.Module):
    """The generator network.

    Args:
        aus: how many AUs condition it.
        width: channels of the first layer, 64 in the paper.
        blocks: residual blocks, six in the paper.
    """

    def __init__(self, aus: int = len(AUS), width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.aus = aus
        layers = _unit(3 + aus, width, 7, 1, 3)
        layers += _unit(width, 2 * width, 4, 2, 1) + _unit(2 * width, 4 * width, 4, 2, 1)
        layers += [Residual(4 * width) for _ in range(blocks)]
        for inner in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(inner, inner // 2, 4, 2, 1, bias=False),
                nn.InstanceNorm2d(inner // 2, affine=True),
                nn.ReLU(inplace=True),
            ]
        self.main = nn.Sequential(*layers)
        self.img_reg = nn.Sequential(nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())
        # The official name, as it is spelt there.
        self.attetion_reg = nn.Sequential(nn.Conv2d(width, 1, 7, 1, 3, bias=False), nn.Sigmoid())
        initialise(self)

    def forward(self, x: Tensor, aus: Tensor) -> tuple[Tensor, Tensor]:
        """Return colour [B, 3, H, W] in -1..1 and attention [B, 1, H, W] in 0..1.

        Args:
            x: images [B, 3, H, W] in -1..1; H and W divisible by 4.
            aus: [B, A], intensities over 5.
        """
        spread = aus[:, :, None, None].expand(-1, -1, *x.shape[2:]).to(x.dtype)
        features = self.main(torch.cat([x, spread], 1))
        return self.img_reg(features), self.attetion_reg(features)


def blend(x: Tensor, colour: Tensor, attention: Tensor) -> Tensor:
    """Return the result: where attention is 1 the input stays, where it is 0 colour replaces it."""
    return attention * x + (1 - attention) * colour


def saturate(attention: Tensor) -> Tensor:
    """Return attention pushed towards 0 and 1, as the paper's pictures show it."""
    return (0.55 * torch.tanh(3 * (attention - 0.5)) + 0.5).clamp(0, 1)


class Critic(nn.Module):
    """Realness of patches, and the AUs of the image by regression.

    Args:
        aus: how many AUs it tells.
        size: side of the images, a multiple of 64.
        width: channels of the first layer, 64 in the paper; doubled five times.
    """

    def __init__(self, aus: int = len(AUS), size: int = SIZE, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = 3
        for i in range(6):
            outer = width * 2**i
            layers += [nn.Conv2d(inner, outer, 4, 2, 1), nn.LeakyReLU(0.01)]
            inner = outer
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(inner, 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(inner, aus, size // 64, bias=False)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return realness [B, size/64, size/64] and AUs [B, A] of images [B, 3, H, W]."""
        features = self.main(x)
        # Named axes only: squeezing every axis of one would lose a batch of one image.
        return self.conv1(features).squeeze(1), self.conv2(features).flatten(1)


def initialise(network: nn.Module) -> None:
    """Draw the weights of convolutions from N(0, 0.02²); biases are zero."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def to_float(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return float [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(made: Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 [B, H, W, 3] of float [B, 3, H, W] in -1..1."""
    pixels = ((made.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def painter_of(state: dict[str, Tensor], where: str) -> Painter:
    """Return the generator that a state dictionary is of; widths are read from its shapes.

    Raises:
        AubenchError: the tensors are not those of a GANimation generator.
    """
    hint = "want the generator's state dictionary, net_epoch_N_id_G.pth"
    first = state.get("main.0.weight") if isinstance(state, dict) else None
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise AubenchError(f"{where} holds no tensor main.0.weight of four axes", hint)
    blocks = sum(key.endswith(".main.0.weight") for key in state)
    painter = Painter(int(first.shape[1]) - 3, int(first.shape[0]), blocks)
    try:
        painter.load_state_dict({key: value.float() for key, value in state.items()})
    except (RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AubenchError(f"{where} is no GANimation generator: {reason}", hint) from error
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise AubenchError(f"{where} holds NaN or Inf", "train again from an earlier checkpoint")
    return painter.eval().requires_grad_(False)


def newest(folder: Path) -> Path:
    """Return the generator of the last epoch in a folder of official checkpoints.

    Raises:
        AubenchError: there is none.
    """
    found = {}
    for path in folder.glob("net_epoch_*_id_G.pth"):
        word = path.name.split("_")[2]
        if word.isdigit():
            found[int(word)] = path
    if not found:
        raise AubenchError(f"{folder} holds no net_epoch_N_id_G.pth", "name the file")
    return found[max(found)]


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or ``.pth`` file; no code in it is run.

    Raises:
        AubenchError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AubenchError(f"cannot read weights from {path}: {reason}") from error
    except Exception as error:  # an UnpicklingError, whose text advises to load unsafely
        raise AubenchError(f"{path} holds more than tensors and is not read") from error
    return loaded


def read_card(path: Path, digest: str) -> dict[str, Any]:
    """Return the card beside a safetensors file, or an empty one.

    Raises:
        AubenchError: it is damaged, or of other weights.
    """
    place = path.with_name(path.name.removesuffix(".safetensors") + ".card.json")
    if path.suffix != ".safetensors" or not place.is_file():
        return {}
    try:
        card: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        stated = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{place} is not a card of weights") from error
    if stated != digest:
        raise AubenchError(f"{path} has sha256 {digest[:12]}, its card says {stated[:12]}",
                           "restore the file")  # fmt: skip
    return card


def columns_of(count: int, card: dict[str, Any], where: str) -> tuple[int, ...]:
    """Return which AUs condition the weights.

    Raises:
        AubenchError: no card says so and the number tells nothing.
    """
    stated = tuple(int(au) for au in card.get("aus", ()))
    known = stated or {len(AUS): AUS, len(OPENFACE): OPENFACE}.get(count, ())
    if len(known) != count:
        raise AubenchError(
            f"{where} is conditioned on {count} AUs, not known which",
            f"known are {len(AUS)} (those of the protocols) and {len(OPENFACE)} (OpenFace)",
        )
    return known


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
            weights: where from.
            device: torch device.
            dtype: ``float32``.
            options: ``saturate``, true to push attention towards 0 and 1.

        Raises:
            AubenchError: weights that are missing, damaged or of another model; other options.
        """
        saturated = _flag(options.pop("saturate", False))
        if options:
            raise AubenchError(f"ganimation has no option '{next(iter(options))}'", "saturate")
        path = weights.path or SHIPPED
        if path.is_dir():
            path = newest(path)
        if not path.is_file():
            raise AubenchError(f"no GANimation weights at {path}", "train: docs/ganimation.md")
        digest = sha256_file(path)
        card = read_card(path, digest)
        painter = painter_of(read_state(path), str(path))
        columns = columns_of(painter.aus, card, str(path))
        level, side = float(card.get("label level", 1.0)), int(card.get("size", 0))
        return cls(painter, columns, level=level, side=side, saturated=saturated, digest=digest,
                   device=device)  # fmt: skip

    @classmethod
    def fit(cls, training: Training) -> Path:
        """Train and return the weights; see ``aubench_baselines.ganimation_train``."""
        from aubench_baselines.ganimation_train import fit

        return fit(training)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights."""
        return self.digest

    def command(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the condition float32 [A]: intensity over 5, or ``level`` for a mere label.

        Raises:
            SampleFailure: an AU is commanded that these weights do not know.
        """
        assert request.aus is not None
        values = np.where(request.aus > 0, np.float32(self.level), np.float32(0))
        if request.intensities is not None:
            known = np.isfinite(request.intensities)
            values = np.where(known, request.intensities / SCALE, values)
        by_number = dict(zip(AUS, values.tolist(), strict=True))
        foreign = [au for au, value in by_number.items() if value > 0 and au not in self.columns]
        if foreign:
            raise SampleFailure(request.sample_id, f"these weights know no AU{foreign[0]}")
        return np.array([by_number.get(au, 0.0) for au in self.columns], np.float32)

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, 128, 128, 3]; each image depends on its request alone.

        Work is done in padded batches of one size, since the last bits of a convolution may
        depend on its shape.
        """
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

"""The networks of GANimation, under the names of the official checkpoints, misspelling included.

Written from a description of the method and its checkpoints; no line of the official code
(GPL-3.0) was used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line
from aubench.facs import AUS

SIZE = 128


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
        aus: How many AUs condition it.
        width: Channels of the first layer, 64 in the paper.
        blocks: Residual blocks, six in the paper.
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
            x: Images [B, 3, H, W] in -1..1; H and W divisible by 4.
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
        aus: How many AUs it tells.
        size: Side of the images, a multiple of 64.
        width: Channels of the first layer, 64 in the paper; doubled five times.
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
        # It has no norm: narrower layers need larger weights for activations of the same scale.
        initialise(self, 0.02 * (64 / width) ** 0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return realness [B, size/64, size/64] and AUs [B, A] of images [B, 3, H, W]."""
        features = self.main(x)
        # Named axes only: squeezing every axis of one would lose a batch of one image.
        return self.conv1(features).squeeze(1), self.conv2(features).flatten(1)


def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw the weights of convolutions from N(0, deviation²); biases are zero."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, deviation)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def to_float(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return float [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(made: Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 [B, H, W, 3] of float [B, 3, H, W] in -1..1, rounded.

    Raises:
        ValueError: A value is no number; as a pixel it would look like black.
    """
    if not torch.isfinite(made).all():
        raise ValueError("the network made pixels that are no numbers")
    pixels = ((made.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def painter_of(state: dict[str, Tensor], where: str) -> Painter:
    """Return the generator that a state dictionary is of; widths are read from its shapes.

    Raises:
        AubenchError: The tensors are not those of a GANimation generator.
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


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or ``.pth`` file; no code in it is run.

    Raises:
        AubenchError: It cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise AubenchError(f"cannot read weights from {path}: {reason}") from error
    except Exception as error:  # an UnpicklingError, whose text advises to load unsafely
        raise AubenchError(f"{path} holds more than tensors and is not read") from error
    return loaded

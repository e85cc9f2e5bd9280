"""How much memory a stage needs, and in how many parts a card of some memory can compute a batch.

Activations are counted, not guessed: the networks run once on torch's ``meta`` device, which knows
shapes and holds no numbers, and what autograd keeps for the backward pass is added up. It takes a
second and no memory. What a library keeps besides is not seen, so the estimate is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vqauface.presets import Preset
from vqauface.settings import Settings

MIB = 2**20
COUNTED = 2
"""Images of the run on ``meta``; batch norms want more than one."""

HEADROOM = 0.85
"""Share of the free memory that activations may fill; the rest is workspace and fragments."""

BYTES_OF_A_WEIGHT = 20
"""Of a trained weight in float32: itself, gradient, Adam's two moments, moving average."""


@dataclass(frozen=True)
class MemoryEstimate:
    """What a stage needs on one card.

    Attributes:
        stage: Number of the stage.
        images: Images of a batch that this process computes.
        image: Bytes of activations that an image needs, at least.
        fixed: Bytes of weights, gradients and optimisers.
    """

    stage: int
    images: int
    image: int
    fixed: int

    def parts(self, free: int | None) -> int:
        """Return in how many parts the images have to be computed; 1 where memory is unknown.

        Args:
            free: Bytes that are free, before the networks are there.
        """
        if free is None:
            return 1
        fitting = int((free * HEADROOM - self.fixed) // self.image)
        return min(self.images, -(-self.images // max(1, fitting)))

    def line(self, parts: int, free: int | None, stated: bool) -> str:
        """Return the estimate in a line.

        Args:
            parts: Parts that are computed one after another.
            free: Bytes that are free, None where that is unknown.
            stated: Whether the user or the preset stated the parts.
        """
        each = -(-self.images // parts)
        told = "free memory unknown" if free is None else f"{_gib(free)} GiB are free"
        return (
            f"stage {self.stage}: {self.images} images at {self.image / MIB:.0f} MiB of "
            f"activations or more are {_gib(self.images * self.image)} GiB, weights and optimisers "
            f"{_gib(self.fixed)} GiB; {told}: accumulate={parts}"
            f"{' as stated' if stated else ''}, {each} images at a time"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"


def estimate(settings: Settings, shape: Preset, images: int) -> MemoryEstimate | None:
    """Return what a stage needs for the images of one process, None for the design ``grid``.

    That of the nano needs hundreds of megabytes in all, so nothing follows from its estimate.

    Args:
        settings: Settings of the stage.
        shape: Shape of both stages.
        images: Images of a batch that one process computes.
    """
    if shape.design == "grid":
        return None
    count = _transformer if settings.stage == 2 else _codec
    kept, trained, frozen = count(settings, shape)
    width = torch.tensor([], dtype=settings.dtype).element_size()
    fixed = trained * BYTES_OF_A_WEIGHT + frozen * 4
    return MemoryEstimate(settings.stage, images, kept * width // 4 // COUNTED, fixed)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free on a card, None for a processor."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def kept_bytes(run: Callable[[], Any]) -> int:
    """Return the bytes that autograd keeps of a computation, parameters aside."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no two storages share an address

    def keep(value: Tensor) -> Tensor:
        if not isinstance(value, nn.Parameter):
            alive.append(value)
            storage = value.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), _Fused():
        alive.append(run())
    return sum(sizes.values())


class _Attention(torch.autograd.Function):
    """Attention as fused kernels compute it: queries, keys, values and output are kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what has the shape of the output."""
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out)
        return out


class _Fused(TorchFunctionMode):
    """On ``meta``, torch keeps the matrices of attention, which no fused kernel does."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace attention; all else stays."""
        if func is F.scaled_dot_product_attention and args[0].device.type == "meta":
            return _Attention.apply(*args[:3])  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _codec(settings: Settings, shape: Preset) -> tuple[int, int, int]:
    """Return bytes kept in float32 of stage I or III, trained weights, and frozen ones."""
    from vqauface.networks.rqvae import Critic, decoder, encoder
    from vqauface.training.losses import VGG16

    side, grid = shape.size, shape.grid
    with torch.device("meta"):
        down, up, critic = encoder(shape), decoder(shape), Critic(shape.critic)
        frozen: nn.Module = nn.Module()
        if settings.perceptual in ("vgg16", "lpips-vgg"):
            frozen = VGG16().requires_grad_(False)
        image = torch.empty(COUNTED, 3, side, side)
        latent = torch.empty(COUNTED, shape.code, grid, grid, requires_grad=True)
        made = torch.empty(COUNTED, 3, side, side, requires_grad=True)
    kept = kept_bytes(lambda: up(latent)) + kept_bytes(lambda: critic(made))
    if settings.stage == 1:
        kept += kept_bytes(lambda: down(image))
    if isinstance(frozen, VGG16):
        kept += kept_bytes(lambda: frozen(made))
    return kept, sum(map(_count, (down, up, critic))), _count(frozen)


def _transformer(settings: Settings, shape: Preset) -> tuple[int, int, int]:
    """Return bytes kept in float32 of stage II, trained weights, and frozen ones."""
    from vqauface.networks.conditions import Condition
    from vqauface.networks.encoders import APPEARANCE, CLIPS
    from vqauface.training.stage_two import transformer

    side, tokens = shape.size, shape.tokens
    with torch.device("meta"):
        model: Any = transformer(shape)
        appearance = structure = None
        if shape.has("appearance") and shape.appearance != "own":
            appearance = torch.empty(COUNTED, 1, APPEARANCE[shape.appearance])
        if shape.has("structure") and shape.structure != "own":
            clip = CLIPS[shape.clip]
            structure = torch.empty(COUNTED, (clip.size // clip.patch) ** 2 + 1, clip.width)
        condition = Condition(
            torch.empty(COUNTED, 3, side, side),
            torch.empty(COUNTED, shape.grid**2, shape.levels, dtype=torch.long),
            torch.empty(COUNTED, shape.length, shape.text),
            torch.empty(COUNTED, shape.length, dtype=torch.bool),
            torch.empty(COUNTED, 12),
            appearance,
            structure,
        )
        books = torch.empty(shape.levels, shape.entries, shape.code)
        entries = torch.empty(COUNTED, tokens, dtype=torch.long)
        masked = torch.empty(COUNTED, tokens, dtype=torch.bool)
    kept = kept_bytes(lambda: model(entries, masked, model.keys(model.context(condition, books))))
    logits = COUNTED * tokens * shape.entries * 4 * 2  # and their softmax, if all are masked
    return kept + logits, _count(model), 0

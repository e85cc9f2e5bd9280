"""MagicFace's networks on SD 1.5: an identity encoder read by the denoiser, AUs in the time step.

Written from a description of the method (Wei et al., MagicFace); no line of its code was used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.datasets.readers.disfa import CODED as AUS
from aubench_baselines.fineface.modules import attend
from aubench_baselines.tensors import fill_strictly

PROMPT = "A close up of a person."
CHANNELS = 8
"""Of the denoiser's input: latents, then latents of the image of background and pose."""


class Recorder:
    """Keeps the states that enter a block of the identity encoder, before its first norm."""

    def __init__(self, block: nn.Module) -> None:
        self.seen: Tensor | None = None
        block.norm1.register_forward_pre_hook(self._keep)

    def _keep(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.seen = inputs[0]


class Reader:
    """Self-attention of a block of the denoiser to its own states and to recorded ones.

    Both go through the denoiser block's own first norm. Recorded states are keys and values alone:
    what attention would make of them as queries is not kept.

    Args:
        recorder: Of the same block of the identity encoder.
        norm: The first norm of the denoiser's block.
    """

    def __init__(self, recorder: Recorder, norm: nn.Module) -> None:
        self.recorder, self.norm = recorder, norm

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return [B, N, C] of [B, N, C]; the recorder's batch is repeated to B."""
        seen = self.recorder.seen
        if seen is None:
            raise ValueError("the identity encoder was not run before the denoiser")
        seen = self.norm(seen).repeat(len(hidden_states) // len(seen), 1, 1)
        return _attend(attn, hidden_states, torch.cat([hidden_states, seen], 1))


def connect(identity: Any, denoiser: Any) -> Recorder:
    """Let a transformer block of the denoiser read the same block of the identity encoder."""
    recorder = Recorder(identity)
    denoiser.attn1.set_processor(Reader(recorder, denoiser.norm1))
    return recorder


def _attend(attn: Any, x: Tensor, context: Tensor) -> Tensor:
    found = attend(attn.to_q(x), attn.to_k(context), attn.to_v(context), attn.heads)
    out: Tensor = attn.to_out[1](attn.to_out[0](found))
    return out


class MagicFaceNetworks(nn.Module):
    """Identity encoder, denoiser and the map of AU changes.

    Args:
        unet: Arguments of ``UNet2DConditionModel`` for SD 1.5, or a small one for tests.
    """

    def __init__(self, unet: dict[str, Any]) -> None:
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.identity = UNet2DConditionModel(**unet)
        # A class embedding of type identity is added to that of the time step as it comes.
        self.denoiser = UNet2DConditionModel(
            **{**unet, "in_channels": 2 * unet["in_channels"], "class_embed_type": "identity"}
        )
        self.au_aug_mlp = nn.Linear(len(AUS), 4 * unet["block_out_channels"][0])
        self._link()

    def _link(self) -> None:
        for name in self.denoiser.attn_processors:
            if ".attn1." in name:
                block = name.partition(".attn1.")[0]
                connect(self.identity.get_submodule(block), self.denoiser.get_submodule(block))

    def remember(self, face: Tensor, words: Tensor) -> None:
        """Run the identity encoder at step 0 on latents of the reference [B, 4, h, w]."""
        zero = torch.zeros(len(face), dtype=torch.long, device=face.device)
        self.identity(face, zero, words)

    def forward(
        self, x: Tensor, t: Tensor, words: Tensor, background: Tensor, change: Tensor
    ) -> Tensor:
        """Return the predicted noise [B, 4, h, w]; ``remember`` comes first.

        Args:
            x: Noisy latents [B, 4, h, w].
            t: Steps [B].
            words: Text states [B, 77, C].
            background: Latents [B, 4, h, w] of the image of background and pose.
            change: Change of the 12 AUs [B, 12], -10..10.
        """
        out: Tensor = self.denoiser(
            torch.cat([x, background], 1), t, words, class_labels=self.au_aug_mlp(change)
        ).sample
        return out


def guided(
    networks: MagicFaceNetworks,
    x: Tensor,
    t: Tensor,
    words: Tensor,
    background: Tensor,
    change: Tensor,
    guidance: float,
) -> Tensor:
    """Return noise guided away from no change of any AU; arguments as of ``forward``."""
    twice = [torch.cat([part, part]) for part in (x, t, words, background)]
    both = networks(*twice, torch.cat([torch.zeros_like(change), change]))
    none, some = both.chunk(2)
    return none + guidance * (some - none)


def fill(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load tensors strictly.

    Raises:
        AubenchError: Names the first that is missing, left over or of another shape.
    """
    fill_strictly(module.state_dict(), state, where, "the official weights of MagicFace")


def to_latents(vae: Any, images: Tensor) -> Tensor:
    """Return latents of images [B, 3, H, W] in 0..1: the mode of the posterior, not scaled.

    Only generated latents have the autoencoder's scaling factor, by which they are divided before
    they are decoded.
    """
    found: Tensor = vae.encode(images * 2 - 1).latent_dist.mode()
    return found


def resized(images: Tensor, size: int) -> Tensor:
    """Return [B, 3, size, size], bilinear with antialiasing."""
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)

"""The networks of a Stable Diffusion base: SD 1.5's true shape, and ours of a few million weights.

Both are the same classes of ``diffusers`` and ``transformers``, so that all that trains, loads and
samples one of them does so with the other. Numbers of SD 1.5: the ``config.json`` files of its
public release (Rombach et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aubench.errors import AubenchError, suggest

SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}
"""Noise schedule of SD 1.5, used by both."""

DDIM: dict[str, Any] = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
"""What SD 1.5's scheduler says besides."""

LENGTH = 77
"""Positions of CLIP's text encoder, start and end marks included."""


@dataclass(frozen=True)
class Shape:
    """Configurations of the networks of a base.

    Attributes:
        size: Side of the images in pixels.
        vae: Arguments of ``AutoencoderKL``.
        unet: Arguments of ``UNet2DConditionModel``.
        text: Arguments of ``CLIPTextConfig``.
    """

    size: int
    vae: dict[str, Any]
    unet: dict[str, Any]
    text: dict[str, Any]

    @property
    def vocabulary(self) -> int:
        """Entries of the tokenizer."""
        return int(self.text["vocab_size"])

    def build_vae(self) -> Any:
        """Return the autoencoder with random weights."""
        from diffusers import AutoencoderKL

        return AutoencoderKL(**self.vae)

    def build_unet(self) -> Any:
        """Return the denoiser with random weights."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel(**self.unet)

    def build_text(self) -> Any:
        """Return the text encoder with random weights."""
        from transformers import CLIPTextConfig, CLIPTextModel

        return CLIPTextModel(CLIPTextConfig(**self.text))


def _clip(vocabulary: int, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": LENGTH,
        "projection_dim": hidden,
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


SHAPES: dict[str, Shape] = {
    "nano": Shape(
        size=128,
        vae={
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 5,
            "up_block_types": ("UpDecoderBlock2D",) * 5,
            "block_out_channels": (16, 32, 64, 64, 64),
            "layers_per_block": 1,
            "latent_channels": 16,
            "norm_num_groups": 8,
            "sample_size": 128,
        },
        unet={
            "sample_size": 8,
            "in_channels": 16,
            "out_channels": 16,
            "down_block_types": ("CrossAttnDownBlock2D",) * 2,
            "up_block_types": ("CrossAttnUpBlock2D",) * 2,
            "block_out_channels": (64, 112),
            "layers_per_block": 1,
            "cross_attention_dim": 96,
            "attention_head_dim": 4,
            "norm_num_groups": 16,
        },
        text=_clip(640, 96, 3, 4),
    ),
    "paper": Shape(
        size=512,
        vae={
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "sample_size": 512,
            "scaling_factor": 0.18215,
        },
        unet={
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "norm_num_groups": 32,
        },
        text=_clip(49408, 768, 12, 12),
    ),
}


def shape_of(preset: str) -> Shape:
    """Return the networks of a preset.

    Raises:
        AubenchError: The name is unknown.
    """
    if preset not in SHAPES:
        raise AubenchError(
            f"sd15-lora has no preset '{preset}'{suggest(preset, SHAPES)}",
            f"choose from {', '.join(SHAPES)}",
        )
    return SHAPES[preset]

"""FineFace's additions to a Stable Diffusion base: an AU token and its own cross-attention.

Written from a description of the method (Varanka et al., FineFace) and of its published files; no
line of the official code was used. Tensor names are those of the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.datasets.readers.disfa import CODED as AUS
from aubench_baselines.tensors import fill_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

ENCODED = {1024: 64, 768: 756}
"""Width of the encoder's output by width of the base's text states (SD 2.1, SD 1.5)."""


class AUEncoder(nn.Module):
    """Intensities to one token: the raw values, a linear map of them, zeros up to the width.

    Args:
        width: Channels of the text states of the base.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.au_encoder = nn.Linear(len(AUS), ENCODED.get(width, width - len(AUS)))

    def forward(self, intensities: Tensor) -> Tensor:
        """Return [B, 1, width] of intensities [B, 12] in 0..5."""
        token = torch.cat([intensities, self.au_encoder(intensities)], 1)
        return F.pad(token, (0, self.width - token.shape[1]))[:, None]


class DecoupledAttention(nn.Module):
    """Cross-attention of one layer: text as before, plus attention to the AU token.

    The states that come in are text with the AU token as the last one. With a single key the
    softmax is 1, so the second part adds the token's value everywhere.

    Args:
        width: Channels of text states and AU token.
        hidden: Inner channels of the layer.
        scale: Weight of the AU part.
    """

    def __init__(self, width: int, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.au_to_k = nn.Linear(width, hidden, bias=False)
        self.au_to_v = nn.Linear(width, hidden, bias=False)
        self.scale = scale

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return [B, N, C] for image states [B, N, C] and text states with AU token [B, L, W]."""
        if encoder_hidden_states is None:
            raise ValueError("cross-attention without text states")
        text, au = encoder_hidden_states[:, :-1], encoder_hidden_states[:, -1:]
        query = attn.to_q(hidden_states)
        words = attend(query, attn.to_k(text), attn.to_v(text), attn.heads)
        units = attend(query, self.au_to_k(au), self.au_to_v(au), attn.heads)
        out: Tensor = attn.to_out[1](attn.to_out[0](words + self.scale * units))
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return multi-head attention [B, N, C] of [B, N, C] to [B, L, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def put_in(unet: Any, scale: float = 1.0) -> nn.ModuleDict:
    """Give a denoiser decoupled attention; return the new processors by layer.

    Keys and values of the AU token start as copies of those of the text.
    """
    processors = dict(unet.attn_processors)
    made = {}
    for name in processors:
        if ".attn2." not in name:
            continue
        layer = unet.get_submodule(name.removesuffix(".processor"))
        module = DecoupledAttention(layer.to_k.in_features, layer.to_k.out_features, scale)
        module.to(layer.to_k.weight)  # device and dtype
        with torch.no_grad():
            module.au_to_k.weight.copy_(layer.to_k.weight)
            module.au_to_v.weight.copy_(layer.to_v.weight)
        processors[name] = made[name] = module
    unet.set_attn_processor(processors)
    return nn.ModuleDict({name.replace(".", "/"): module for name, module in made.items()})


def fill(unet: Any, encoder: AUEncoder, state: Mapping[str, Tensor], where: str) -> None:
    """Load AU attention and encoder, strictly.

    Args:
        unet: UNet with ``put_in`` done.
        encoder: Encoder of the same width.
        state: ``<layer>.attn2.processor.au_to_{k,v}.weight`` and ``au_encoder.{weight,bias}``.
        where: Named in errors.

    Raises:
        AubenchError: A tensor is missing, left over, or of another shape.
    """
    wanted = dict(encoder.named_parameters())
    for name, module in unet.attn_processors.items():
        if isinstance(module, DecoupledAttention):
            wanted |= {f"{name}.{key}": value for key, value in module.named_parameters()}
    fill_strictly(
        wanted,
        state,
        where,
        "weights of FineFace for this base",
        "another base: FineFace has files for SD 2.1 and for SD 1.5",
    )

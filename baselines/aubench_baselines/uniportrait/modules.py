"""UniPortrait's networks: face backbone, resampler, attention with identity.

Written from a description of the method (He et al., ICCV 2025) and of its published files; no line
of the official code was used. The backbone is the public IR-101 of CurricularFace.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK = 128
TOKENS, IP_TOKENS = 16, 4
STAGES = ((64, 3), (128, 13), (256, 30), (512, 3))
TAPS = (2, 15, 45, 48)
"""Blocks after which IR-101's maps are read: 64 x 56², 128 x 28², 256 x 14², 512 x 7²."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class Block(nn.Module):
    """Residual block of IR-101.

    Args:
        inner: Channels that come in.
        outer: Channels that go out; where they differ the shortcut is a convolution.
        stride: Stride of the second convolution and the shortcut.
    """

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inner != outer:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inner),
            nn.Conv2d(inner, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.PReLU(outer),
            nn.Conv2d(outer, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, outer, H / stride, W / stride]."""
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class FaceBackbone(nn.Module):
    """IR-101: 917 tensors, 65,150,912 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        blocks, inner = [], 64
        for outer, count in STAGES:
            for i in range(count):
                blocks.append(Block(inner, outer, 2 if i == 0 else 1))
                inner = outer
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * 49, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, faces: Tensor) -> list[Tensor]:
        """Return the four maps at ``TAPS`` of faces [B, 3, 112, 112] in -1..1."""
        x, maps = self.input_layer(faces), []
        for i, block in enumerate(self.body):
            x = block(x)
            if i in TAPS:
                maps.append(x)
        return maps


class Perceiver(nn.Module):
    """Attention of latents to context and themselves, 12 heads of 64 in UniPortrait.

    Args:
        width: Channels of latents and context.
        heads: Heads of width 64.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, 64 * heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, context: Tensor, latents: Tensor) -> Tensor:
        """Return [B, L, C] of context [B, N, C] and latents [B, L, C]."""
        context, latents = self.norm1(context), self.norm2(latents)
        key, value = self.to_kv(torch.cat([context, latents], 1)).chunk(2, dim=-1)
        out: Tensor = self.to_out(attend(self.to_q(latents), key, value, self.heads))
        return out


class Resampler(nn.Module):
    """``faceid_proj``: identity and structure tokens to 16 tokens; 121 tensors.

    Args:
        width: Width of the tokens, that of the text states.
        identity: Channels of the identity tokens.
        structure: Channels of the structure tokens.
        layers: How many.
        heads: Heads of each attention.
    """

    def __init__(
        self,
        width: int = 768,
        identity: int = 512,
        structure: int = 1728,
        layers: int = 6,
        heads: int = 12,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, TOKENS, width) / width**0.5)
        self.proj_id = nn.Sequential(
            nn.Linear(identity, 2 * identity), nn.GELU(), nn.Linear(2 * identity, width)
        )
        self.proj_clip = nn.Sequential(
            nn.Linear(structure, 2 * structure), nn.GELU(), nn.Linear(2 * structure, width)
        )
        self.layers = nn.ModuleList(
            nn.ModuleList([Perceiver(width, heads), Perceiver(width, heads), feed_forward(width)])
            for _ in range(layers)
        )
        self.proj_out, self.norm_out = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, identity: Tensor, structure: Tensor, scale: float) -> Tensor:
        """Return [B, 16, width].

        Args:
            identity: [B, 49, 512].
            structure: [B, 256, 1728].
            scale: Weight of what is read from the structure tokens.
        """
        who, how = self.proj_id(identity), self.proj_clip(structure)
        x = self.latents.expand(len(identity), -1, -1)
        for layer in self.layers:
            attend_id, attend_structure, forward = list(layer)  # type: ignore[call-overload]
            x = x + attend_id(who, x)
            x = x + scale * attend_structure(how, x)
            x = x + forward(x)
        out: Tensor = self.norm_out(self.proj_out(x))
        return out


def feed_forward(width: int) -> nn.Sequential:
    """Return the feed-forward part of a layer."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width, bias=False),
        nn.GELU(),
        nn.Linear(4 * width, width, bias=False),
    )


class ImageTokens(nn.Module):
    """IP-Adapter's projection: an image embedding to 4 tokens."""

    def __init__(self, embedding: int = 1024, width: int = 768) -> None:
        super().__init__()
        self.width = width
        self.proj, self.norm = nn.Linear(embedding, IP_TOKENS * width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, 4, width] of [B, embedding]."""
        out: Tensor = self.norm(self.proj(x).unflatten(-1, (IP_TOKENS, self.width)))
        return out


class LoRA(nn.Module):
    """A low-rank addition to a linear layer; it starts at zero."""

    def __init__(self, inner: int, outer: int, rank: int = RANK) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inner, rank, bias=False), nn.Linear(rank, outer, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outer] of [..., inner]."""
        out: Tensor = self.up(self.down(x))
        return out


class IdentityAttention(nn.Module):
    """Attention of one layer with LoRA; in cross-attention also to image and identity tokens.

    The states that come in are text, then 4 image tokens, then 16 identity tokens.

    Args:
        attn: The layer of the denoiser.
        cross: Whether it attends to text.
        scales: Weights of image tokens, identity tokens and LoRA.
    """

    def __init__(self, attn: Any, cross: bool, scales: tuple[float, float, float]) -> None:
        super().__init__()
        hidden, context = attn.to_q.in_features, attn.to_k.in_features
        self.cross = cross
        self.ip_scale, self.id_scale, self.lora_scale = scales
        self.to_q_lora = LoRA(hidden, hidden)
        self.to_k_lora = LoRA(context, hidden)
        self.to_v_lora = LoRA(context, hidden)
        self.to_out_lora = LoRA(hidden, hidden)
        if cross:
            self.to_k_faceid = nn.Linear(context, hidden, bias=False)
            self.to_v_faceid = nn.Linear(context, hidden, bias=False)
            self.to_k_ip = nn.Linear(context, hidden, bias=False)
            self.to_v_ip = nn.Linear(context, hidden, bias=False)

    def forward(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return [B, N, C] for image states [B, N, C]."""
        s = self.lora_scale
        query = attn.to_q(hidden_states) + s * self.to_q_lora(hidden_states)
        if not self.cross or encoder_hidden_states is None:
            text, ip, face = hidden_states, None, None
        else:
            end = encoder_hidden_states.shape[1] - TOKENS
            text = encoder_hidden_states[:, : end - IP_TOKENS]
            ip = encoder_hidden_states[:, end - IP_TOKENS : end]
            face = encoder_hidden_states[:, end:]
        key = attn.to_k(text) + s * self.to_k_lora(text)
        value = attn.to_v(text) + s * self.to_v_lora(text)
        out = attend(query, key, value, attn.heads)
        if ip is not None and self.ip_scale:
            out = out + self.ip_scale * attend(
                query, self.to_k_ip(ip), self.to_v_ip(ip), attn.heads
            )
        if face is not None:
            out = out + self.id_scale * attend(
                query, self.to_k_faceid(face), self.to_v_faceid(face), attn.heads
            )
        done: Tensor = attn.to_out[1](attn.to_out[0](out) + s * self.to_out_lora(out))
        return done


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return multi-head attention [B, N, C] of [B, N, C] to [B, L, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def put_in(unet: Any, scales: tuple[float, float, float]) -> nn.ModuleList:
    """Give a denoiser identity attention; return the processors in the denoiser's order.

    Their positions in that order are the numbers of the published files.
    """
    made = {}
    for name in unet.attn_processors:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        made[name] = IdentityAttention(layer, ".attn2." in name, scales)
    unet.set_attn_processor(dict(made))
    return nn.ModuleList(made.values())


def face_tokens(backbone: FaceBackbone, clip: Any, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return identity tokens [B, 49, 512], structure tokens [B, 256, 448 + 1280], embeddings.

    Args:
        backbone: IR-101.
        clip: Vision model of ViT-H/14.
        faces: [B, 3, 224, 224] in 0..1.
    """
    small = F.interpolate(faces * 2 - 1, size=112, mode="bilinear", align_corners=False)
    *early, last = backbone(small.clamp(-1, 1))
    mean = torch.tensor(CLIP_MEAN, device=faces.device, dtype=faces.dtype).view(3, 1, 1)
    deviation = torch.tensor(CLIP_DEVIATION, device=faces.device, dtype=faces.dtype).view(3, 1, 1)
    seen, embedding = clip_states(clip, (faces - mean) / deviation)
    side = int(seen.shape[1] ** 0.5)
    maps = [F.interpolate(m, size=side, mode="bilinear", align_corners=False) for m in early]
    flat = torch.cat(maps, 1).flatten(2).transpose(1, 2)
    return last.flatten(2).transpose(1, 2), torch.cat([flat, seen], 2), embedding


def clip_states(clip: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return patch states [B, 256, 1280] of CLIP's last but one layer, and embeddings.

    Args:
        clip: Vision model of ViT-H/14.
        x: Normalised pictures [B, 3, 224, 224].
    """
    said = clip(x, output_hidden_states=True)
    return said.hidden_states[-2][:, 1:], said.image_embeds  # all but the class token

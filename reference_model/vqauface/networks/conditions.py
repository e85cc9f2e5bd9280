"""What the transformer is told: face encoder, text, AU cross-attention (paper, 4.2.1, 4.2.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqauface.networks.encoders import APPEARANCE, CLIPS
from vqauface.networks.rqvae import Block
from vqauface.presets import Preset

AUS = 12


@dataclass(frozen=True)
class Condition:
    """Reference face and behaviour of a batch; what a model does not take is None.

    Attributes:
        image: Reference float [B, 3, S, S] in -1..1.
        codes: Codes of the reference int64 [B, N, Q].
        hidden: Text states [B, L, C].
        words: bool [B, L], true on real tokens.
        labels: 0/1 float [B, 12], NaN where unknown.
        appearance: Features of the face-recognition network [B, 1, W].
        structure: Tokens of CLIP's image encoder [B, T, W], the class token first.
        au: AU tokens of design ``grid`` [B, 12, H], where they are known already.
    """

    image: Tensor
    codes: Tensor
    hidden: Tensor | None = None
    words: Tensor | None = None
    labels: Tensor | None = None
    appearance: Tensor | None = None
    structure: Tensor | None = None
    au: Tensor | None = None

    def __getitem__(self, rows: slice) -> Self:
        """Return some of the batch."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{k: v if v is None else v[rows] for k, v in parts.items()})

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{k: v if v is None else v.to(device) for k, v in parts.items()})


class FaceEncoder(nn.Module):
    """Appearance and structure tokens of the reference face, as wide as the transformer.

    Where a kind is ``own``, one small network trained along stands for the pretrained encoder,
    whose features are projected otherwise. The third kind, VAE tokens, is the residual VQGAN's.
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.grid = p.grid
        own = [k for k in ("appearance", "structure") if p.has(k) and getattr(p, k) == "own"]
        stride = p.size // p.grid
        fold = min(4, stride)
        width = 96 if p.hidden > 96 else p.hidden
        if own:
            self.stem = nn.Sequential(
                nn.PixelUnshuffle(fold),
                nn.Conv2d(3 * fold**2, width, stride // fold, stride // fold),
                Block(width),
            )
        if p.has("structure"):
            self.structure: nn.Module = (
                nn.Conv2d(width, p.hidden, 1)
                if "structure" in own
                else nn.Linear(CLIPS[p.clip].width, p.hidden)
            )
        if p.has("appearance"):
            known = width if "appearance" in own else APPEARANCE[p.appearance]
            self.appearance = nn.Linear(known, p.hidden)
        self.own = frozenset(own)
        self.kinds = frozenset(k for k in ("appearance", "structure") if p.has(k))

    def forward(
        self, x: Tensor, appearance: Tensor | None = None, structure: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return appearance F_a [B, 1, H] and structure F_s [B, T, H], None where left out.

        Args:
            x: Images [B, 3, S, S] in -1..1.
            appearance: Features of a face-recognition network [B, 1, W], unless own.
            structure: Tokens of CLIP [B, T, W], unless own; own ones have T = N.
        """
        y = self.stem(x) if self.own else x
        if "structure" in self.own:
            structure = self.structure(y).flatten(2).transpose(1, 2)
        elif "structure" in self.kinds:
            assert structure is not None
            structure = self.structure(structure)
        else:
            structure = None
        if "appearance" in self.own:
            appearance = self.appearance(y.mean((2, 3)))[:, None]
        elif "appearance" in self.kinds:
            assert appearance is not None
            appearance = self.appearance(appearance)
        else:
            appearance = None
        return appearance, structure

    def places(self, structure: Tensor) -> Tensor:
        """Return structure tokens [B, N, H], one a place of the grid; CLIP's are pooled."""
        if "structure" in self.own:
            return structure
        patches = structure[:, 1:].transpose(1, 2)
        side = round(patches.shape[-1] ** 0.5)
        maps = patches.reshape(len(patches), -1, side, side)
        pooled = F.interpolate(
            maps.float(), (self.grid, self.grid), mode="bilinear", antialias=True
        )
        return pooled.to(structure.dtype).flatten(2).transpose(1, 2)


class LabelStates(nn.Module):
    """Table 5: AU labels through a perceptron, as long and as wide as the text states.

    A place of the sequence enters the perceptron beside the labels, so that its L outputs differ.
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.labels = nn.Linear(AUS, p.hidden)
        self.place = nn.Parameter(torch.randn(p.length, p.hidden) * 0.02)
        self.mlp = nn.Sequential(
            nn.GELU(), nn.Linear(p.hidden, p.hidden), nn.GELU(), nn.Linear(p.hidden, p.text)
        )

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return states [B, L, C] and their mask [B, L] of labels [B, 12]."""
        known = torch.nan_to_num(labels)
        states: Tensor = self.mlp(self.labels(known)[:, None] + self.place)
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


class AUQueries(nn.Module):
    """Design ``grid``: twelve learned queries read the text and become AU tokens."""

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(AUS, p.hidden) * 0.02)
        self.text = nn.Linear(p.text, p.hidden)
        self.attention = nn.MultiheadAttention(p.hidden, p.heads, batch_first=True)
        self.norm = nn.LayerNorm(p.hidden)
        self.mlp = nn.Sequential(
            nn.Linear(p.hidden, 2 * p.hidden), nn.GELU(), nn.Linear(2 * p.hidden, p.hidden)
        )
        self.probe = nn.Linear(p.hidden, 1)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return AU tokens [B, 12, H] from text states [B, L, C]; mask is true on real tokens."""
        words = self.text(text)
        query = self.query.expand(len(text), -1, -1)
        read, _ = self.attention(query, words, words, key_padding_mask=~mask, need_weights=False)
        tokens = self.norm(query + read)
        out: Tensor = tokens + self.mlp(tokens)
        return out

    def presence(self, tokens: Tensor) -> Tensor:
        """Return AU logits [B, 12]; an auxiliary target that aligns the tokens with the AUs."""
        out: Tensor = self.probe(tokens)[..., 0]
        return out


class AUCrossAttention(nn.Module):
    """Design ``flat``: cross-attention between text tokens F_t and structure tokens F_s.

    The result F_au has the query's length: the text's, as the paper's equal lengths of 2,048
    tokens suggest, or one token a place. Without structure tokens F_au is the text (5.6).
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.heads, self.by_text = p.heads, p.query == "text"
        self.text = nn.Linear(p.text, p.hidden)
        self.place = nn.Parameter(torch.randn(p.length, p.hidden) * 0.02)
        self.null = nn.Parameter(torch.randn(p.text) * 0.02)
        self.probe = nn.Linear(p.hidden, AUS)
        self.crosses = p.has("structure")
        if self.crosses:
            self.before = nn.ModuleList(nn.LayerNorm(p.hidden) for _ in range(2))
            self.attention = nn.MultiheadAttention(p.hidden, p.heads, batch_first=True)
            self.mlp = nn.Sequential(
                nn.LayerNorm(p.hidden),
                nn.Linear(p.hidden, 4 * p.hidden),
                nn.GELU(),
                nn.Linear(4 * p.hidden, p.hidden),
            )

    def forward(self, text: Tensor, mask: Tensor, structure: Tensor | None) -> Tensor:
        """Return AU tokens F_au [B, L or N, H].

        Args:
            text: States [B, L', C]; padded to L with zeros where it asks.
            mask: bool [B, L'], true on real tokens.
            structure: F_s [B, T, H], one a place where it asks.
        """
        words = self.text(text) + self.place[: text.shape[1]]
        if self.by_text or structure is None:
            words = words * mask[..., None]
            words = F.pad(words, (0, 0, 0, len(self.place) - words.shape[1]))
        if structure is None or not self.crosses:
            return words
        if self.by_text:
            query, source, hidden = words, structure, None
        else:
            query, source, hidden = structure, words, ~mask
        asked, answers = self.before[0](query), self.before[1](source)
        read, _ = self.attention(
            asked, answers, answers, key_padding_mask=hidden, need_weights=False
        )
        y = query + read
        out: Tensor = y + self.mlp(y)
        return out

    def presence(self, tokens: Tensor) -> Tensor:
        """Return AU logits [B, 12] of the mean token; see `AUQueries.presence`."""
        out: Tensor = self.probe(tokens.mean(1))
        return out

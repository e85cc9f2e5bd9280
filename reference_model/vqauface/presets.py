"""Shapes of VQ-AUFace. What the paper leaves open is a field here, see docs/paper-notes.md."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from aubench.errors import AubenchError, suggest

KINDS = ("appearance", "structure", "vae")
"""The three kinds of tokens that the face encoder gives (§4.2.1)."""

CHOICES = {
    "design": ("grid", "flat"),
    "appearance": ("own", "nano-id", "facenet"),
    "structure": ("own", "clip"),
    "input": ("text", "labels"),
    "query": ("text", "structure"),
}


@dataclass(frozen=True)
class Preset:
    """Shape of both stages.

    Attributes:
        size: image side in pixels.
        grid: side of the token grid; ``size / grid`` is the stride of the encoder.
        levels: residual levels, Q; a face is ``grid² × Q`` tokens.
        entries: of the codebook of each level; the vocabulary is ``levels × entries``.
        code: width of a code vector.
        widths: channels at each resolution, the finest first.
        text: width of the text encoder's hidden states.
        hidden: width of the transformer.
        layers: of the transformer.
        heads: of its attention.
        steps: of parallel decoding.
        temperature: of sampling; 0 takes the likeliest entry.
        guidance: of classifier-free guidance; 1 is off.
        stem: pixels that the codec folds into channels first; 1 for none.
        blocks: residual blocks of the codec at each resolution.
        attend: whether the codec has self-attention at its coarsest resolution.
        critic: channels of the discriminator's first layer.
        design: ``flat``, the paper's: each residual token is a place of the sequence; ``grid``: a
            place is a position, and a small head predicts its levels one after another.
        appearance: whence the appearance token: ``own`` network trained along, ``nano-id``,
            ``facenet``.
        structure: whence structure tokens: ``own`` network trained along, or ``clip``.
        clip: name of CLIP's image encoder, see ``encoders.CLIPS``.
        encoder: name of the T5 encoder in ``aubench.textau``.
        length: text tokens, padded to where ``query`` is ``text``; longer texts are refused.
        query: what asks in the AU cross-attention of ``flat``, text tokens or structure tokens.
        coarse: whether ``flat`` fills coarse levels before fine ones.
        input: ``text``, or ``labels`` through a perceptron (Table 5).
        without: kinds left out, ``appearance``, ``structure``, ``vae``, joined by ``+`` (Table 3).
    """

    size: int
    grid: int
    levels: int
    entries: int
    code: int
    widths: tuple[int, ...]
    text: int
    hidden: int
    layers: int
    heads: int
    steps: int
    temperature: float
    guidance: float
    stem: int = 4
    blocks: int = 1
    attend: bool = False
    critic: int = 48
    design: str = "grid"
    appearance: str = "own"
    structure: str = "own"
    clip: str = "vit-large-patch14"
    encoder: str = "nano"
    length: int = 320
    query: str = "text"
    coarse: bool = False
    input: str = "text"
    without: str = ""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise AubenchError(
                    f"{name} cannot be '{value}'{suggest(value, known)}",
                    f"choose from {', '.join(known)}",
                )
        for kind in filter(None, self.without.split("+")):
            if kind not in KINDS:
                raise AubenchError(
                    f"without={self.without}: '{kind}' is no kind of token{suggest(kind, KINDS)}",
                    f"join some of {', '.join(KINDS)} with +",
                )
        if self.stem * 2 ** (len(self.widths) - 1) * self.grid != self.size:
            raise AubenchError(
                f"size {self.size}, grid {self.grid}, stem {self.stem} and {len(self.widths)} "
                "widths do not fit",
                "size = grid × stem × 2^(widths - 1)",
            )
        if self.lengths_differ:
            raise AubenchError(
                f"length {self.length} is not grid² × levels = {self.tokens}",
                "the weighted sum of AU and VAE tokens needs both alike, or query=structure",
            )

    @property
    def tokens(self) -> int:
        """Residual tokens of a face."""
        return self.grid**2 * self.levels

    @property
    def lengths_differ(self) -> bool:
        """Whether AU tokens and VAE tokens could not be added."""
        by_text = self.design == "flat" and self.query == "text"
        return by_text and self.has("vae") and self.length != self.tokens

    def has(self, kind: str) -> bool:
        """Whether a kind of token is there."""
        return kind not in self.without.split("+")


NANO = Preset(128, 8, 8, 512, 96, (64, 128, 160), 96, 192, 5, 8, 6, 0.5, 2.0)
PAPER = Preset(
    size=256, grid=16, levels=8, entries=8192, code=256, widths=(128, 128, 256, 256, 512),
    text=1024, hidden=512, layers=8, heads=8, steps=18, temperature=1.0, guidance=3.0,
    stem=1, blocks=2, attend=True, critic=64, design="flat", appearance="facenet",
    structure="clip", encoder="t5-large", length=2048,
)  # fmt: skip
MID = Preset(
    size=256, grid=16, levels=4, entries=2048, code=256, widths=(96, 128, 192, 256, 384),
    text=768, hidden=512, layers=8, heads=8, steps=12, temperature=1.0, guidance=3.0,
    stem=1, blocks=1, attend=True, critic=64, design="flat", appearance="facenet",
    structure="clip", clip="vit-base-patch16", encoder="t5-base", length=512, query="structure",
)  # fmt: skip
TINY = Preset(32, 2, 2, 16, 16, (16, 16, 16), 96, 32, 1, 2, 2, 0.5, 2.0)
TINY_FLAT = Preset(
    32, 4, 2, 16, 16, (16, 16), 96, 32, 1, 2, 3, 1.0, 2.0, design="flat", length=320,
    query="structure", coarse=True,
)  # fmt: skip

PRESETS = {"nano": NANO, "mid": MID, "paper": PAPER, "tiny": TINY, "tiny-flat": TINY_FLAT}
"""``nano`` is trained on synfacs and shipped, ``mid`` is for one 24 GB card, ``paper`` is the
paper's; the tiny ones are for tests."""


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        AubenchError: the name is unknown.
    """
    if name not in PRESETS:
        raise AubenchError(
            f"unknown preset '{name}'{suggest(name, PRESETS)}", f"choose from {', '.join(PRESETS)}"
        )
    return PRESETS[name]


def parsed(cls: type[Any], name: str, word: str) -> Any:
    """Return the value of a field of a dataclass from its spelling on the command line.

    Raises:
        AubenchError: it is not of the field's type.
    """
    kind = str(get_type_hints(cls)[name])
    try:
        if word == "none" and "None" in kind:
            return None
        if "tuple" in kind:
            return tuple((float if "float" in kind else int)(part) for part in word.split(","))
        if "bool" in kind:
            return {"true": True, "yes": True, "false": False, "no": False}[word]
        if "float" in kind:
            return float(word)
        return int(word) if "int" in kind else word
    except (ValueError, KeyError) as error:
        raise AubenchError(f"--set {name}={word} is no value of {name}", f"it is {kind}") from error


def names(cls: type[Any]) -> tuple[str, ...]:
    """Return the fields of a dataclass."""
    return tuple(f.name for f in fields(cls))

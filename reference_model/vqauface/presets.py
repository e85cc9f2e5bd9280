"""Shapes of VQ-AUFace. What the paper leaves open is a field here, see docs/paper-notes.md."""

from __future__ import annotations

from dataclasses import dataclass

from aubench.errors import AubenchError, suggest

KINDS = ("appearance", "structure", "vae")
"""The three kinds of tokens that the face encoder gives (4.2.1)."""

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
        size: Image side in pixels.
        grid: Side of the token grid; ``size / grid`` is the stride of the encoder.
        levels: Residual levels, Q; a face is ``grid² × Q`` tokens.
        entries: Entries of the codebook of each level; the vocabulary is ``levels × entries``.
        code: Width of a code vector.
        widths: Channels at each resolution, the finest first.
        text: Width of the text encoder's hidden states.
        hidden: Width of the transformer.
        layers: Layers of the transformer.
        heads: Heads of its attention.
        steps: Steps of parallel decoding.
        temperature: Temperature of sampling; 0 takes the likeliest entry.
        guidance: Guidance of classifier-free guidance; 1 is off.
        stem: Pixels that the codec folds into channels first; 1 for none.
        blocks: Residual blocks of the codec at each resolution.
        attend: Whether the codec has self-attention at its coarsest resolution.
        critic: Channels of the discriminator's first layer.
        design: ``flat``, the paper's: each residual token is a place of the sequence; ``grid``: a
            place is a position, and a small head predicts its levels one after another.
        appearance: Whence the appearance token: ``own`` network trained along, ``nano-id``,
            ``facenet``.
        structure: Whence structure tokens: ``own`` network trained along, or ``clip``.
        clip: Name of CLIP's image encoder, see ``encoders.CLIPS``.
        encoder: Name of the T5 encoder in ``aubench.networks.textau``.
        length: Text tokens, padded to where ``query`` is ``text``; longer texts are refused.
        query: What asks in the AU cross-attention of ``flat``, text tokens or structure tokens.
        coarse: Whether ``flat`` fills coarse levels before fine ones.
        input: ``text``, or ``labels`` through a perceptron (Table 5).
        without: Kinds left out, ``appearance``, ``structure``, ``vae``, joined by ``+`` (Table 3).
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
    size=256,
    grid=16,
    levels=8,
    entries=8192,
    code=256,
    widths=(128, 128, 256, 256, 512),
    text=1024,
    hidden=512,
    layers=8,
    heads=8,
    steps=18,
    temperature=1.0,
    guidance=3.0,
    stem=1,
    blocks=2,
    attend=True,
    critic=64,
    design="flat",
    appearance="facenet",
    structure="clip",
    encoder="t5-large",
    length=2048,
)
MID = Preset(
    size=256,
    grid=16,
    levels=4,
    entries=2048,
    code=256,
    widths=(96, 128, 192, 256, 384),
    text=768,
    hidden=512,
    layers=8,
    heads=8,
    steps=12,
    temperature=1.0,
    guidance=3.0,
    stem=1,
    blocks=1,
    attend=True,
    critic=64,
    design="flat",
    appearance="facenet",
    structure="clip",
    clip="vit-base-patch16",
    encoder="t5-base",
    length=512,
    query="structure",
)
TINY = Preset(32, 2, 2, 16, 16, (16, 16, 16), 96, 32, 1, 2, 2, 0.5, 2.0)
TINY_FLAT = Preset(
    32,
    4,
    2,
    16,
    16,
    (16, 16),
    96,
    32,
    1,
    2,
    3,
    1.0,
    2.0,
    design="flat",
    length=320,
    query="structure",
    coarse=True,
)

PRESETS = {"nano": NANO, "mid": MID, "paper": PAPER, "tiny": TINY, "tiny-flat": TINY_FLAT}
"""``nano`` is trained on synfacs and shipped, ``mid`` is for one 24 GB card, ``paper`` is the
paper's; the tiny ones are for tests."""


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        AubenchError: The name is unknown.
    """
    if name not in PRESETS:
        raise AubenchError(
            f"unknown preset '{name}'{suggest(name, PRESETS)}", f"choose from {', '.join(PRESETS)}"
        )
    return PRESETS[name]

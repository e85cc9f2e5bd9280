"""Hyper-parameters of VQ-AUFace. What the paper leaves open is a field here."""

from __future__ import annotations

from dataclasses import dataclass

from aubench.errors import AubenchError, suggest


@dataclass(frozen=True)
class Preset:
    """Shape of both stages.

    Attributes:
        size: image side in pixels.
        grid: side of the token grid; ``size / grid`` is the stride of the encoder.
        levels: residual levels, Q; a face is ``grid² × Q`` tokens.
        entries: of the codebook of each level.
        code: width of a code vector.
        widths: channels at stride 4, 8 and 16.
        text: width of the text encoder's hidden states.
        hidden: width of the transformer.
        layers: of the transformer.
        heads: of its attention.
        steps: of parallel decoding.
        temperature: of sampling; 0 takes the likeliest entry.
        guidance: of classifier-free guidance; 1 is off.
    """

    size: int
    grid: int
    levels: int
    entries: int
    code: int
    widths: tuple[int, int, int]
    text: int
    hidden: int
    layers: int
    heads: int
    steps: int
    temperature: float
    guidance: float


PRESETS = {
    "nano": Preset(128, 8, 8, 512, 96, (64, 128, 160), 96, 192, 5, 8, 6, 0.5, 2.0),
    "tiny": Preset(32, 2, 2, 16, 16, (16, 16, 16), 96, 32, 1, 2, 2, 0.5, 2.0),
}
"""``nano`` is trained on synfacs and shipped; ``tiny`` is for tests."""


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

"""What a rendering shows, for studies of what a reader of faces sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aubench.errors import AubenchError

NUISANCES = (
    "actions",
    "asymmetry",
    "speech",
    "gaze",
    "pose",
    "beard",
    "makeup",
    "scar",
    "glasses",
    "shadow",
    "camera",
)
"""What ``wild`` adds: AUs outside the twelve, uneven sides, talking, wide gaze and pose, grown
beards, make-up, scars, glasses, cast shadows, a camera's blur, noise, colour and JPEG."""


@dataclass(frozen=True)
class Layers:
    """Which parts of a rendering are drawn.

    Attributes:
        texture: The skin's colour and relief; without it uniform clay, brows kept.
        wrinkles: The relief that strain raises.
        motion: The motion of the skin itself; without it the wrinkles lie on a still face.
        nuisances: What of ``NUISANCES`` is drawn where the condition has it.
    """

    texture: bool = True
    wrinkles: bool = True
    motion: bool = True
    nuisances: frozenset[str] = frozenset(NUISANCES)


WHOLE = Layers()
CLAY = Layers(texture=False, wrinkles=False)


def without(names: Iterable[str]) -> Layers:
    """Return everything but some nuisances.

    Raises:
        AubenchError: A name is none of ``NUISANCES``.
    """
    names = set(names)
    unknown = sorted(names - set(NUISANCES))
    if unknown:
        raise AubenchError(
            f"unknown nuisance '{unknown[0]}'", f"choose from {', '.join(NUISANCES)}"
        )
    return Layers(nuisances=frozenset(NUISANCES) - names)

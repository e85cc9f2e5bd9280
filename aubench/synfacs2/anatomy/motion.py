"""What moves: weights of the shape targets and of the displacement fields, left and right apart."""

from __future__ import annotations

from dataclasses import dataclass, field

LEFT, RIGHT = 1, -1


@dataclass
class Motion:
    """Weights at which targets and fields are added to a neutral head; 1 is the full excursion.

    Attributes:
        targets: Weight by target of the asset, such as ``a:mouthSmileLeft``.
        halves: Weight by target that has no sides of its own and side (1 left, -1 right).
        fields: Weight by displacement field and side (1, -1; 0 for a field of the midline).
    """

    targets: dict[str, float] = field(default_factory=dict)
    halves: dict[tuple[str, int], float] = field(default_factory=dict)
    fields: dict[tuple[str, int], float] = field(default_factory=dict)

    def target(self, name: str, weight: float) -> None:
        """Add to a target."""
        self.targets[name] = self.targets.get(name, 0.0) + weight

    def sided(self, name: str, left: float, right: float) -> None:
        """Add to the ``Left`` and ``Right`` targets of a face unit, ``l`` and ``r`` of others."""
        if name.startswith("a:"):
            self.target(f"{name}Left", left)
            self.target(f"{name}Right", right)
            return
        for side, weight in ((LEFT, left), (RIGHT, right)):
            at = (name, side)
            self.halves[at] = self.halves.get(at, 0.0) + weight

    def push(self, name: str, left: float, right: float) -> None:
        """Add to the two halves of a displacement field."""
        for side, weight in ((LEFT, left), (RIGHT, right)):
            at = (name, side)
            self.fields[at] = self.fields.get(at, 0.0) + weight

    def middle(self, name: str, weight: float) -> None:
        """Add to a displacement field of the midline."""
        self.fields[name, 0] = self.fields.get((name, 0), 0.0) + weight

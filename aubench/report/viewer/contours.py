"""Points of the face mesh that a drawing of a face goes through, in their order.

The numbers are those of MediaPipe's canonical face model; left and right are the subject's.
"""

from __future__ import annotations

CONTOURS: dict[str, tuple[int, ...]] = {
    "left brow, upper edge": (300, 293, 334, 296, 336),
    "left brow, lower edge": (276, 283, 282, 295, 285),
    "right brow, upper edge": (70, 63, 105, 66, 107),
    "right brow, lower edge": (46, 53, 52, 65, 55),
    "left eye": (
        263,
        249,
        390,
        373,
        374,
        380,
        381,
        382,
        362,
        398,
        384,
        385,
        386,
        387,
        388,
        466,
        263,
    ),
    "right eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    "bridge of the nose": (168, 6, 197, 195, 5, 4),
    "base of the nose": (129, 98, 97, 2, 326, 327, 358),
    "upper lip, outer edge": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    "lower lip, outer edge": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    "upper lip, inner edge": (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    "lower lip, inner edge": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    "chin": (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397),
}

"""synfacs: rendered faces with exact FACS Action Units, the embedded default data set.

Every image is a pure function of (subject, AU intensities, scene seed). Importing this package is
light; the renderer is imported when one of its names is first asked for. The function ``render``
is imported as ``from aubench.synfacs2.render import render``, since the name belongs to the module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aubench.synfacs2.keys import format_key, parse_key

if TYPE_CHECKING:
    from aubench.synfacs2.render import landmarks, render_key, renderer_id

    RENDERER_ID: str

__all__ = [
    "RENDERER_ID",
    "format_key",
    "landmarks",
    "parse_key",
    "render_key",
    "renderer_id",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not ``from aubench.synfacs2 import render``: that would ask this function again, for ever.
    module = import_module("aubench.synfacs2.render")
    return module.renderer_id() if name == "RENDERER_ID" else getattr(module, name)

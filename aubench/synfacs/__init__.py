"""synfacs: rendered faces with exact FACS Action Units, the embedded default data set.

Every image is a pure function of (subject, AU intensities, scene seed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aubench.synfacs.keys import format_key, parse_key

if TYPE_CHECKING:
    from aubench.synfacs.render import landmarks, render, render_key, renderer_id

__all__ = ["format_key", "landmarks", "parse_key", "render", "render_key", "renderer_id"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from aubench.synfacs import render as module

        return getattr(module, name)
    raise AttributeError(name)

"""aubench: benchmark of generators that turn facial Action Units into faces.

The names in ``__all__`` are the public interface of plug-ins and notebooks (docs/api.md); each is
imported when it is first asked for, so that ``import aubench`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aubench.cards import Card
    from aubench.datasets import image_source
    from aubench.datasets.samples import SampleSet
    from aubench.detectors import load_detector
    from aubench.engine.job import RunConfig
    from aubench.engine.run import execute
    from aubench.errors import AubenchError
    from aubench.facs import AUS, load_facs, parse_aus
    from aubench.generator import (
        Ablatable,
        AblationRow,
        Generator,
        GeneratorInfo,
        Plan,
        Request,
        SampleFailure,
        Trainable,
        Training,
        Unsupported,
        WeightSource,
    )
    from aubench.identity import load_identity
    from aubench.protocol import Protocol, load_protocol, protocol_names
    from aubench.record import Record, read_record
    from aubench.registry import generator_class, listings
    from aubench.textau import load_text_au
    from aubench.weights import MissingWeightsError

__version__ = "0.1.0"

__all__ = [
    "AUS", "Ablatable", "AblationRow", "AubenchError", "Card", "Generator", "GeneratorInfo",
    "MissingWeightsError", "Plan", "Protocol", "Record", "Request", "RunConfig", "SampleFailure",
    "SampleSet", "Trainable", "Training", "Unsupported", "WeightSource", "__version__", "execute",
    "generator_class", "image_source", "listings", "load_detector", "load_facs", "load_identity",
    "load_protocol", "load_text_au", "parse_aus", "protocol_names", "read_record",
]  # fmt: skip

_HOMES = {
    "cards": ("Card",),
    "datasets": ("image_source",),
    "datasets.samples": ("SampleSet",),
    "detectors": ("load_detector",),
    "engine.job": ("RunConfig",),
    "engine.run": ("execute",),
    "errors": ("AubenchError",),
    "facs": ("AUS", "load_facs", "parse_aus"),
    "generator": (
        "Ablatable", "AblationRow", "Generator", "GeneratorInfo", "Plan", "Request",
        "SampleFailure", "Trainable", "Training", "Unsupported", "WeightSource",
    ),
    "identity": ("load_identity",),
    "protocol": ("Protocol", "load_protocol", "protocol_names"),
    "record": ("Record", "read_record"),
    "registry": ("generator_class", "listings"),
    "textau": ("load_text_au",),
    "weights": ("MissingWeightsError",),
}  # fmt: skip
_MODULES = {name: f"aubench.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

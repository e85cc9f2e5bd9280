"""aubench: benchmark of generators that turn facial Action Units into faces.

The names in ``__all__`` are the public interface of plug-ins and notebooks (docs/api.md); each is
imported when it is first asked for, so that ``import aubench`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aubench.datasets import image_source
    from aubench.datasets.samples import SampleSet
    from aubench.errors import AubenchError
    from aubench.facs import AUS, load_facs, parse_aus
    from aubench.generators.cards import Card
    from aubench.generators.contract import (
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
    from aubench.generators.registry import generator_class, listings
    from aubench.networks.detectors import load_detector
    from aubench.networks.external_weights import MissingWeightsError
    from aubench.networks.identity import load_identity
    from aubench.networks.textau import load_text_au
    from aubench.protocols.protocol import Protocol, load_protocol, protocol_names
    from aubench.records.record import Record, read_record
    from aubench.run.config import RunConfig
    from aubench.run.execute import execute

__version__ = "0.1.0"

__all__ = [
    "AUS",
    "Ablatable",
    "AblationRow",
    "AubenchError",
    "Card",
    "Generator",
    "GeneratorInfo",
    "MissingWeightsError",
    "Plan",
    "Protocol",
    "Record",
    "Request",
    "RunConfig",
    "SampleFailure",
    "SampleSet",
    "Trainable",
    "Training",
    "Unsupported",
    "WeightSource",
    "__version__",
    "execute",
    "generator_class",
    "image_source",
    "listings",
    "load_detector",
    "load_facs",
    "load_identity",
    "load_protocol",
    "load_text_au",
    "parse_aus",
    "protocol_names",
    "read_record",
]

_HOMES = {
    "datasets": ("image_source",),
    "datasets.samples": ("SampleSet",),
    "errors": ("AubenchError",),
    "facs": ("AUS", "load_facs", "parse_aus"),
    "generators.cards": ("Card",),
    "generators.contract": (
        "Ablatable",
        "AblationRow",
        "Generator",
        "GeneratorInfo",
        "Plan",
        "Request",
        "SampleFailure",
        "Trainable",
        "Training",
        "Unsupported",
        "WeightSource",
    ),
    "generators.registry": ("generator_class", "listings"),
    "networks.detectors": ("load_detector",),
    "networks.external_weights": ("MissingWeightsError",),
    "networks.identity": ("load_identity",),
    "networks.textau": ("load_text_au",),
    "protocols.protocol": ("Protocol", "load_protocol", "protocol_names"),
    "records.record": ("Record", "read_record"),
    "run.config": ("RunConfig",),
    "run.execute": ("execute",),
}
_MODULES = {name: f"aubench.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

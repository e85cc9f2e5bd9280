"""The Facial Action Coding System: action units, muscles, conflicts; AU sets in words."""

from aubench.facs.action_units import (
    AUS,
    Action,
    Combination,
    Facs,
    combination_name,
    labels_of,
    load_facs,
    parse_aus,
    parse_intensities,
)

__all__ = [
    "AUS",
    "Action",
    "Combination",
    "Facs",
    "combination_name",
    "labels_of",
    "load_facs",
    "parse_aus",
    "parse_intensities",
]

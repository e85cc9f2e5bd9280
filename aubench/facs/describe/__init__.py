"""The Dynamic AU Text Processor: sets of AUs put into words."""

from aubench.facs.describe.grades import GRADES, grade_of
from aubench.facs.describe.text import (
    Allocation,
    Description,
    allocate,
    describe,
    mentioned,
    wordings,
)

__all__ = [
    "GRADES",
    "Allocation",
    "Description",
    "allocate",
    "describe",
    "grade_of",
    "mentioned",
    "wordings",
]

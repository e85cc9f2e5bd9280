"""The Dynamic AU Text Processor: sets of AUs put into words."""

from aubench.describe.grades import GRADES, grade_of
from aubench.describe.text import Description, allocate, describe, mentioned, wordings

__all__ = [
    "GRADES", "Description", "allocate", "describe", "grade_of", "mentioned", "wordings",
]  # fmt: skip

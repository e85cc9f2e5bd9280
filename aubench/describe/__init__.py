"""The Dynamic AU Text Processor: sets of AUs put into words."""

from aubench.describe.text import Description, allocate, describe, mentioned, wordings

__all__ = ["Description", "allocate", "describe", "mentioned", "wordings"]

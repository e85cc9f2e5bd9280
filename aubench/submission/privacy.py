"""Faces of restricted data sets leave the machine only if the user says so."""

from __future__ import annotations

from aubench.datasets import restricted
from aubench.errors import AubenchError

FLAG = "--include-restricted"


def check_faces(dataset: str, allowed: bool, what: str) -> None:
    """Refuse to put faces or samples of a restricted data set into what others will see.

    Args:
        dataset: Data set that faces or samples are of.
        allowed: Whether the user said so in as many words.
        what: What, such as ``a bundle``.

    Raises:
        AubenchError: The data set is restricted and the user did not.
    """
    if restricted(dataset) and not allowed:
        raise AubenchError(
            f"'{dataset}' is restricted, and {what} would hold of its faces and samples",
            f"if its terms allow it, add {FLAG}",
        )

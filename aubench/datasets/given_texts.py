"""Texts of others that a data set brings, in place of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aubench.datasets.samples import seed_of
from aubench.errors import AubenchError


@dataclass(frozen=True)
class GivenTexts:
    """Texts of others.

    Attributes:
        sha256: Digest of keys and texts.
        texts: Texts by key, one or several of each face.
    """

    sha256: str
    texts: dict[str, tuple[str, ...]]

    def drawn(self, keys: Sequence[str], seed: int) -> list[str]:
        """Return a text of each face, of several one that follows from key and seed.

        Raises:
            AubenchError: A face has none.
        """
        lacking = [key for key in keys if key not in self.texts]
        if lacking:
            raise AubenchError(
                f"no text of {lacking[0]} was attached ({len(lacking)} in all)",
                "attach texts of all faces, or `--fill`",
            )
        return [self.texts[key][seed_of(key, seed) % len(self.texts[key])] for key in keys]

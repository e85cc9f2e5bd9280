"""A commitment: digests of weights and code, told before a sealed draw is revealed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aubench.errors import AubenchError
from aubench.storage.files import sha256_bytes, write_text
from aubench.storage.text_files import read_json


@dataclass(frozen=True)
class Commitment:
    """What a model is held to.

    Attributes:
        model: Its name.
        weights_sha256: Digest of its weights, None where it has none.
        code_sha256: Digest over the modules of the package that it comes from.
        created: When it was written, UTC; what proves a time is where it was published.
    """

    model: str
    weights_sha256: str | None
    code_sha256: str
    created: str

    @property
    def digest(self) -> str:
        """What to publish: the digest of all but the time."""
        told = {key: value for key, value in asdict(self).items() if key != "created"}
        return sha256_bytes(json.dumps(told, sort_keys=True).encode())


def commit(model: str, weights: Path | None, out: Path) -> Commitment:
    """Load a model, write what it is held to, and return that.

    Raises:
        AubenchError: It is a control or cannot be loaded, or the file exists.
    """
    from aubench.generators.code_identity import code_digest
    from aubench.generators.contract import WeightSource
    from aubench.generators.registry import (
        check_available,
        generator_class,
        load_with,
        weights_digest,
    )

    if out.exists():
        raise AubenchError(f"{out} exists", "choose another --out; a commitment is not changed")
    cls = generator_class(model)
    if cls.info.control:
        raise AubenchError(f"'{model}' is a control", "commit to a model")
    check_available(cls, model)
    loaded = load_with(cls, model, WeightSource(weights), "cpu")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = Commitment(model, weights_digest(loaded), code_digest(cls), now)
    text = json.dumps(asdict(found) | {"digest": found.digest}, indent=1) + "\n"
    write_text(out, text, durable=True)
    return found


def read_commitment(path: Path) -> Commitment:
    """Return a commitment.

    Raises:
        AubenchError: The file is none, or was changed.
    """
    try:
        data = read_json(path)
        stated = data.pop("digest")
        found = Commitment(**data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is no commitment", "`aubench commit` writes one") from error
    if found.digest != stated:
        raise AubenchError(f"{path} was changed after it was written", "restore it")
    return found


def broken(found: Commitment, model: str, weights_sha256: str | None) -> list[str]:
    """Return what of a run or of the code installed here is not as committed, in words."""
    from aubench.generators.code_identity import code_digest
    from aubench.generators.registry import generator_class

    if found.model != model:
        return [f"the commitment is of model '{found.model}', the record of '{model}'"]
    out = []
    if found.weights_sha256 != weights_sha256:
        out.append("the weights of the record are not those committed to")
    try:
        here = code_digest(generator_class(model))
    except AubenchError:
        return out
    if here != found.code_sha256:
        out.append("the code installed here is not what was committed to")
    return out

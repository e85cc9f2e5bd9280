"""Opaque names: keyed digests that tell nothing, and never the same name to two raters."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from aubench.errors import AubenchError
from aubench.storage.files import sha256_bytes, write_text
from aubench.study.design.files import KEY, Design, Key, read

NAME_BYTES = 16


def new_secret() -> str:
    """Return 256 random bits in hexadecimal."""
    return secrets.token_hex(32)


def new_token() -> str:
    """Return a link's random part, 144 bits."""
    return secrets.token_urlsafe(18)


def opaque(secret: str, *parts: str) -> str:
    """Return an HMAC-SHA256 name, 128 bits in hexadecimal; parts cannot run into each other."""
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    digest = hmac.new(bytes.fromhex(secret), message, hashlib.sha256).digest()
    return digest[:NAME_BYTES].hex()


def token_digest(token: str) -> str:
    """Return what is stored of a token: its sha256."""
    return sha256_bytes(token.encode())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    write_text(path, text, durable=True)
    os.chmod(path, 0o600)  # noqa: PTH101 - the bits are the point


def unseal(study: Path, design: Design, key_path: Path | None = None) -> Key:
    """Open the key.

    Raises:
        AubenchError: It is missing, or not the one whose digest the design states.
    """
    path = key_path or study / KEY
    key = read(path, Key)
    if sha256_bytes(path.read_bytes()) != design.key_sha256:
        raise AubenchError(
            f"{path} is not the key that {study} was sealed with", "give the right one by --key"
        )
    return key

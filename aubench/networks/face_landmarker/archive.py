"""The archive ``face_landmarker.task``: three networks, each with its digest."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from aubench.errors import AubenchError
from aubench.networks.face_landmarker.flatbuffer import Graph, NotTFLite, read
from aubench.storage.files import sha256_bytes

WEIGHTS = "mp-face"
REMEDY = f"`aubench weights fetch {WEIGHTS}`"

MEMBERS = {
    "face_detector": "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",
    "face_landmarks_detector": "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5",
    "face_blendshapes": "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082",
}
"""Digests of the members, without ``.tflite``; of the float16 release, version 1."""


def members(path: Path) -> dict[str, bytes]:
    """Return the three networks' files after checking their digests.

    Raises:
        AubenchError: the archive cannot be read, is damaged, lacks a network or holds another.
    """
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            here = set(archive.namelist())
            found = {
                name: archive.read(f"{name}.tflite") for name in MEMBERS if f"{name}.tflite" in here
            }
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror or error}", REMEDY) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise AubenchError(f"{path} is no whole archive: {error}", REMEDY) from error
    for name, digest in MEMBERS.items():
        if name not in found:
            raise AubenchError(f"{path} holds no {name}.tflite", REMEDY)
        have = sha256_bytes(found[name])
        if have != digest:
            what = f"{name}.tflite in {path} has digest {have[:12]}, not {digest[:12]}"
            raise AubenchError(what, REMEDY)
    return found


def graphs(path: Path) -> dict[str, Graph]:
    """Return the three networks' graphs by name.

    Raises:
        AubenchError: see ``members``.
    """
    out = {}
    for name, data in members(path).items():
        try:
            out[name] = read(data)
        except NotTFLite as error:
            raise AubenchError(f"{name}.tflite in {path}: {error}", REMEDY) from error
    return out

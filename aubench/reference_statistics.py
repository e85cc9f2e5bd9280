"""Reference statistics of a protocol frozen from one's own data: feature moments, AAAD's constants.

They lie beside the samples and are covered by ``SHA256SUMS``, not by the protocol's digest: they
depend on networks and on the machine, the samples on neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.datasets import image_source
from aubench.files import atomic_path, write_text
from aubench.metrics.aaad import constants
from aubench.metrics.extractors import extractor_of, load_extractor
from aubench.metrics.measure import DetectorNetwork, measure
from aubench.protocol import CONSTANTS, SUMS, Protocol, check_sums
from aubench.protocol_freeze import write_sums
from aubench.weights import MissingWeightsError

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.detectors.detector import Detector
    from aubench.metrics.measure import Network

REFERENCE = "reference.json"


def freeze_statistics(
    protocol: Protocol,
    extractor: str | None = None,
    detectors: Sequence[Detector] = (),
    device: str = "cpu",
) -> dict[str, Any]:
    """Write the statistics of a protocol's targets; return what ``reference.json`` says.

    ``reference-EXTRACTOR.safetensors`` holds ``mean`` [D] and ``covariance`` [D, D] in float64,
    unbiased. A network whose weights are missing is named with the reason.

    Args:
        protocol: frozen from imported data.
        extractor: in place of the data set's own.
        detectors: whose constants of AAAD are wanted; they know all twelve AUs.
        device: torch device.

    Raises:
        AubenchError: an image is missing; a network's answer is not finite.
    """
    samples, images = protocol.samples(), image_source(protocol.dataset)
    keys = [str(key) for key in samples.frame["target"]]
    networks: list[Network] = [DetectorNetwork(detector) for detector in detectors]
    missing: dict[str, str] = {}
    wanted = extractor or extractor_of(protocol.dataset)
    try:
        found: Network | None = load_extractor(wanted, device)
    except MissingWeightsError as error:
        missing[wanted], found = str(error), None
    networks += [found] if found is not None else []
    kept = [n for n in check_sums(protocol.folder) if not n.startswith("reference")]
    arrays: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    if networks:
        arrays = measure(
            keys, lambda some: images.load_many(some, protocol.size), networks, label="targets"
        )
    files = [name for name in kept if name != CONSTANTS or not detectors]
    if detectors:
        table = _constants(protocol, samples, detectors, arrays)
        write_text(protocol.folder / CONSTANTS, json.dumps(table, indent=1) + "\n")
        files.append(CONSTANTS)
    if found is not None:
        files.append(_moments(protocol, found, arrays[found.name]["features"]))
    told = {
        "targets": len(keys),
        "size": protocol.size,
        "fingerprint": images.fingerprint,
        "AU rates": [round(float(rate), 6) for rate in samples.labels().mean(0)],
        "combinations": int(samples.frame["combination"].nunique()),
        "networks": {network.name: network.id for network in networks},
        "missing": missing,
    }
    write_text(protocol.folder / REFERENCE, json.dumps(told, indent=1) + "\n")
    write_sums(protocol.folder, [*files, REFERENCE])
    return told


def _moments(protocol: Protocol, network: Network, features: npt.NDArray[np.float32]) -> str:
    from safetensors.numpy import save_file

    name = f"reference-{re.sub(r'[^A-Za-z0-9._-]+', '-', network.name)}.safetensors"
    values = features.astype(np.float64)
    moments = {"mean": values.mean(0), "covariance": np.cov(values, rowvar=False)}
    about = {"network": network.id, "sha256": network.sha256, "n": str(len(values))}
    with atomic_path(protocol.folder / name) as temporary:
        save_file(moments, temporary, metadata=about)
    return name


def _constants(
    protocol: Protocol,
    samples: SampleSet,
    detectors: Sequence[Detector],
    arrays: dict[str, dict[str, npt.NDArray[np.float32]]],
) -> dict[str, list[float]]:
    """Return AAAD's (low, high) by detector id and target source."""
    wanted = {"labels": samples.labels().astype(np.float32)}
    if protocol.definition.input == "text":
        from aubench.textau import load_text_au

        classifier = load_text_au()
        wanted[f"text-{classifier.id}"] = classifier.probabilities(list(samples.frame["text"]))
    table = {}
    for detector in detectors:
        for source, target in wanted.items():
            scale = constants(arrays[detector.name]["probabilities"], target)
            table[f"{detector.id}|{source}"] = [round(scale.low, 6), round(scale.high, 6)]
    return table


__all__ = ["REFERENCE", "SUMS", "freeze_statistics"]

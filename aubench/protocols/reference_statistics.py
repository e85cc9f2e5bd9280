"""Reference statistics of a protocol: feature moments of one's own data, AAAD's constants.

``python -m aubench.protocols.reference_statistics FOLDER DATASET`` adds the constants to the
protocols of a rendered data set, by its detectors and its text classifier; run it when one of
these changes. Moments are left out there: anybody can render the targets.

They lie beside the samples and are covered by ``SHA256SUMS``, not by the protocol's digest: they
depend on networks and on the machine, the samples on neither.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.datasets import default_networks, image_source
from aubench.metrics.action_units.aaad import constants
from aubench.networks.detectors import load_detectors
from aubench.networks.detectors.detector import PairedDetector
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.extractors.extractor import extractor_of
from aubench.networks.extractors.registry import load_extractor
from aubench.networks.inference import DetectorNetwork, measure, readings
from aubench.protocols.freeze import write_sums
from aubench.protocols.protocol import CONSTANTS, SUMS, Protocol, check_sums, load_protocol
from aubench.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.networks.detectors.detector import Detector
    from aubench.networks.inference import Network

REFERENCE = "reference.json"


def freeze_statistics(
    protocol: Protocol,
    extractor: str | None = None,
    detectors: Sequence[Detector | PairedDetector] = (),
    device: str = "cpu",
    text_au: str | None = None,
) -> dict[str, Any]:
    """Write the statistics of a protocol's targets; return what ``reference.json`` says.

    ``reference-EXTRACTOR.safetensors`` holds ``mean`` [D] and ``covariance`` [D, D] in float64,
    unbiased. A network whose weights are missing is named with the reason.

    Args:
        protocol: The protocol.
        extractor: Extractor in place of the data set's own.
        detectors: Detectors whose constants of AAAD are wanted.
        device: Torch device.
        text_au: Classifier of the texts, for the constants of AAAD; None for the default.

    Raises:
        AubenchError: An image is missing; a network's answer is not finite.
    """
    samples, images = protocol.samples(), image_source(protocol.dataset)
    keys = [str(key) for key in samples.frame["target"]]
    networks: list[Network] = [
        DetectorNetwork(detector)
        for detector in detectors
        if not isinstance(detector, PairedDetector)
    ]
    shared = {d.network.name: d.network for d in detectors if isinstance(d, PairedDetector)}
    networks += shared.values()
    missing: dict[str, str] = {}
    wanted = extractor or extractor_of(protocol.dataset)
    try:
        found: Network | None = load_extractor(wanted, device)
    except MissingWeightsError as error:
        missing[wanted], found = str(error), None
    networks += [found] if found is not None else []
    kept = [n for n in check_sums(protocol.folder) if not n.startswith("reference")]
    arrays: dict[str, dict[str, npt.NDArray[np.float32]]] = {}

    def load(some: Sequence[str]) -> npt.NDArray[np.uint8]:
        return images.load_many(some, protocol.size)

    if networks:
        arrays = measure(keys, load, networks, label="targets")
    if shared:
        names, rows = np.unique(samples.frame["reference"].to_numpy(str), return_inverse=True)
        seen = measure([str(n) for n in names], load, [*shared.values()], label="references")
        for one in detectors:
            if isinstance(one, PairedDetector):
                own = {key: array[rows] for key, array in seen[one.network.name].items()}
                arrays[one.name] = readings(one, arrays[one.network.name], own)
    files = [name for name in kept if name != CONSTANTS or not detectors]
    if detectors:
        table = _constants(protocol, samples, detectors, arrays, text_au)
        write_text(protocol.folder / CONSTANTS, json.dumps(table, indent=1) + "\n")
        files.append(CONSTANTS)
    if found is not None:
        files.append(_moments(protocol, found, arrays[found.name]["features"]))
    statistics = {
        "targets": len(keys),
        "size": protocol.size,
        "fingerprint": images.fingerprint,
        "AU rates": [round(float(rate), 6) for rate in samples.labels().mean(0)],
        "combinations": int(samples.frame["combination"].nunique()),
        "networks": {one.name: one.id for one in (*networks, *detectors)},
        "missing": missing,
        **_read_texts(protocol, samples, text_au),
    }
    write_text(protocol.folder / REFERENCE, json.dumps(statistics, indent=1) + "\n")
    write_sums(protocol.folder, [*files, REFERENCE])
    return statistics


def freeze_constants(protocol: Protocol) -> None:
    """Write AAAD's constants of a protocol by the detectors of its data set.

    Args:
        protocol: The protocol; its folder gets ``aaad.json`` and new digests.

    Raises:
        AubenchError: A target is missing.
    """
    samples, images = protocol.samples(), image_source(protocol.dataset)
    keys = [str(key) for key in samples.frame["target"]]
    detectors = load_detectors(default_networks(protocol.dataset).detectors)
    images.prefetch(keys, protocol.size, protocol.name)
    arrays = measure(
        keys,
        lambda some: images.load_many(some, protocol.size),
        [DetectorNetwork(one) for one in detectors if not isinstance(one, PairedDetector)],
        label="targets",
    )
    table = _constants(protocol, samples, detectors, arrays, None)
    kept = [n for n in check_sums(protocol.folder) if n != CONSTANTS]  # before it is changed
    write_text(protocol.folder / CONSTANTS, json.dumps(table, indent=1) + "\n")
    write_sums(protocol.folder, [*kept, CONSTANTS])


def _read_texts(protocol: Protocol, samples: SampleSet, text_au: str | None) -> dict[str, Any]:
    """Return which classifier read the texts, and how many of them it could not."""
    if protocol.definition.input != "text":
        return {}
    from aubench.networks.textau import load_text_au
    from aubench.networks.textau.checks import check_reading

    model = load_text_au(text_au or default_networks(protocol.dataset).text_au)
    texts = [str(text) for text in samples.frame["text"]]
    readings = zip(texts, model.read(texts), strict=True)
    unsure = sum(check_reading(text, reading) is not None for text, reading in readings)
    return {"texts": {"read by": model.id, "unsure": unsure}}


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
    detectors: Sequence[Detector | PairedDetector],
    arrays: dict[str, dict[str, npt.NDArray[np.float32]]],
    text_au: str | None,
) -> dict[str, list[float]]:
    """Return AAAD's (low, high) by detector id and target source."""
    wanted = {"labels": samples.labels().astype(np.float32)}
    if protocol.definition.input == "text" and not protocol.definition.graded:
        from aubench.networks.textau import load_text_au

        classifier = load_text_au(text_au or default_networks(protocol.dataset).text_au)
        wanted[f"text-{classifier.id}"] = classifier.probabilities(list(samples.frame["text"]))
    table = {}
    for detector in detectors:
        seen = arrays[detector.name]
        rows = np.flatnonzero(seen.get("found", np.ones(len(samples))))
        for source, target in wanted.items():
            known = np.where(detector.mask, target, np.float32(0))
            scale = constants(seen["probabilities"][rows], known[rows])
            table[f"{detector.id}|{source}"] = [round(scale.low, 6), round(scale.high, 6)]
    return table


def main(words: Sequence[str]) -> None:
    """Freeze the constants of every protocol of a data set."""
    root, dataset = Path(words[0]), words[1]
    for place in sorted((root / dataset).iterdir()):
        freeze_constants(load_protocol(place.name, dataset, root))
        sys.stderr.write(f"{place}\n")


__all__ = ["REFERENCE", "SUMS", "freeze_constants", "freeze_statistics"]

if __name__ == "__main__":
    main(sys.argv[1:])

"""A bundle checked: checksums, samples, every metric from the features, a few images made again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from aubench.comparison.runs import Run, generator_info
from aubench.errors import AubenchError
from aubench.metrics import registry
from aubench.metrics.metric import Tolerance
from aubench.records.record import ScoreRow
from aubench.storage.run_folder import pixel_digest
from aubench.submission.bundle import Bundle, as_kept, changed_files, read_bundle, thumbnail

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.generators.contract import Generator
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.protocols.protocol import Protocol

Verdict = Literal["holds", "fails", "open"]
ALIKE, SAME, NEAR = 4.0, 5e-3, 0.5
"""Grey levels between thumbnails; relative distance of features of equal and of alike pixels."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    verdict: Verdict
    what: str


def verify(
    path: Path, images: int = 4, seed: int | None = None, weights: Path | None = None
) -> list[Finding]:
    """Return what holds and what does not of a bundle.

    Args:
        path: Its folder.
        images: How many samples are made again.
        seed: Seed of their choice; by default one that nobody knows beforehand.
        weights: Weights of the model, in place of its own.

    Raises:
        AubenchError: It is no bundle.
    """
    bundle = read_bundle(path)
    found = [Finding("fails", text) for text in changed_files(path)]
    if not found:
        found.append(Finding("holds", "every file has its checksum"))
    try:
        run = _open(bundle)
    except AubenchError as error:
        return [*found, Finding("fails", error.message)]
    found += _samples(bundle, run)
    if any(finding.verdict == "fails" for finding in found[1:]):
        return found
    with tempfile.TemporaryDirectory() as folder:
        found += _scores(bundle, run, Path(folder))
    found += _again(bundle, run, images, seed, weights)
    return found


def check_promises(path: Path, commit: Path | None, seal: Path | None) -> list[Finding]:
    """Return whether a bundle keeps a commitment, and is of the draw that was sealed.

    Raises:
        AubenchError: A file is none of these.
    """
    found, record = [], read_bundle(path).record
    if commit is not None:
        from aubench.submission.commitment import broken, read_commitment

        held = read_commitment(commit)
        wrong = broken(held, record.model.name, record.model.weights_sha256)
        found += [Finding("fails", text) for text in wrong]
        if not wrong:
            what = f"weights and code are those committed to, {held.digest[:12]}"
            found.append(Finding("holds", what))
    if seal is not None:
        from aubench.protocols.sealed_draws import read_seal

        stated, protocol = read_seal(seal), record.protocol
        same = (protocol.dataset, protocol.name) == (stated.dataset, stated.name)
        what = f"draw {stated.name}, sealed as {stated.digest[:12]}"
        text = f"the run is of {what}" if same else f"the run is of {protocol.name}, not of {what}"
        found.append(Finding("holds" if same else "fails", text))
    return found


def _open(bundle: Bundle) -> Run:
    from aubench.protocols.protocol import load_protocol

    stated = bundle.record.protocol
    protocol = load_protocol(stated.name, stated.dataset)
    if protocol.sha256 != stated.sha256:
        raise AubenchError(f"the record follows another version of protocol '{stated.name}'")
    from aubench.storage.run_folder import RunFolder

    folder = RunFolder(bundle.path, dict(bundle.digests), dict(bundle.failures))
    return Run(folder, bundle.record, _sample_set(bundle, protocol), protocol)


def _sample_set(bundle: Bundle, protocol: Protocol) -> SampleSet:
    samples = protocol.samples()
    place = {str(name): i for i, name in enumerate(samples.frame["sample_id"])}
    strangers = [name for name in bundle.ids if name not in place]
    if strangers:
        raise AubenchError(f"sample '{strangers[0]}' is not of protocol '{protocol.name}'")
    if len(set(bundle.ids)) < len(bundle.ids):
        raise AubenchError("a sample id occurs twice in the ledger")
    rows = [place[name] for name in bundle.ids]
    if rows != sorted(rows):
        raise AubenchError("the samples are not in the order of the protocol")
    counts = bundle.record.counts
    fewer = len(samples) - len(rows)
    if fewer and not counts.limited and fewer != getattr(counts, "unsupported", 0):
        raise AubenchError(f"{fewer} samples of the protocol are missing")
    chosen = samples.subset(rows)
    if bundle.record.provenance.seed:
        seeds = chosen.frame["seed"] + bundle.record.provenance.seed
        chosen = replace(chosen, frame=chosen.frame.assign(seed=seeds))
    return chosen


def _samples(bundle: Bundle, run: Run) -> Iterator[Finding]:
    counts = bundle.record.counts
    if counts.limited:
        yield Finding("open", "a run with --limit, which no leaderboard takes")
    stated = bundle.record.provenance.images_sha256
    same = run.folder.digest(run.ids) == stated
    yield Finding(
        "holds" if same else "fails",
        "the ledger is that of the record's images"
        if same
        else "the record speaks of other images than the ledger",
    )
    if (counts.generated, counts.failed) != (len(bundle.digests), len(bundle.failures)):
        yield Finding("fails", "the record counts other samples than the ledger")
    if run.images().fingerprint != bundle.record.protocol.dataset_fingerprint:
        yield Finding("fails", "the data set has another fingerprint here")


def recompute(metrics: Sequence[str], data: EvaluationData) -> list[tuple[str, ScoreRow]]:
    """Return (family, row) of every score that follows from what was measured."""
    from aubench.evaluate.evaluate import scores_of

    own, subsets, _ = scores_of(data, registry.chosen(metrics))
    rows = [("", row) for row in own]
    return rows + [(family, row) for family, more in subsets.items() for row in more]


def _scores(bundle: Bundle, run: Run, folder: Path) -> list[Finding]:
    metrics = [one.name for one in registry.chosen(run.metrics()) if one.verifiable]
    try:
        opened = Run(bundle.unpack(folder), run.record, run.samples, run.protocol)
        measured = _rounded(opened.evaluation_data(metrics))
    except AubenchError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            return [Finding("fails", error.message)]
        # A bundle has no images to measure instead.
        text = "the features are not those of these images by the networks installed here"
        return [Finding("fails", f"{text}; the record's: {bundle.record.provenance.networks}")]
    found, checked = [], 0
    computed = recompute(metrics, measured)
    void = {row.metric: row.note for _, row in computed if row.is_void}
    again = {(family, row.metric, row.id): row for family, row in computed if not row.is_void}
    with_interval = {metric for (_, metric, _), row in again.items() if row.ci}
    stated = [("", row) for row in bundle.record.scores]
    stated += [(name, row) for name, rows in bundle.record.subsets.items() for row in rows]
    left_out = []
    for family, row in stated:
        if row.metric in void or row.is_void:
            continue
        other = again.pop((family, row.metric, row.id), None)
        if other is None:
            left_out.append(f"{family} {row.metric}".strip())
            continue
        checked += 1
        wrong = _disagreement(row, other)
        if wrong:
            found.append(Finding("fails", f"{family} {wrong}".strip()))
    found += [Finding("fails", f"the record hides {metric}") for _, metric, _ in again]
    bare = [row.metric for _, row in stated if row.ci is None and row.metric in with_interval]
    if bare:
        found.append(Finding("open", f"stated without interval: {', '.join(dict.fromkeys(bare))}"))
    if not any(finding.verdict == "fails" for finding in found):
        found.append(Finding("holds", f"{checked} numbers recomputed from the features agree"))
    if left_out:
        found.append(_left_out(left_out, metrics))
    claimed = {row.metric for _, row in stated if row.value is not None}
    found += [
        Finding("open", f"{name} was not recomputed: {reason}")
        for name, reason in void.items()
        if name in claimed
    ]
    if bundle.record.groups:
        found.append(Finding("open", "scores of groups were not recomputed"))
    return found


def _rounded(data: EvaluationData) -> EvaluationData:
    """Return the measurements with targets rounded as the generated images' are in a bundle.

    An image that is its own target is as far from another as that one from its target: a tie that
    the radii of recall, density and coverage decide, and that rounding of one side would break.
    """
    return replace(data, targets={name: as_kept(arrays) for name, arrays in data.targets.items()})


def _left_out(names: list[str], metrics: Sequence[str]) -> Finding:
    """Say which stated numbers did not come out again; of a recomputed group that is a failure."""
    owners = {name: registry.owner(name) for name in names}
    known = [name for name, one in owners.items() if one is not None and one.name in metrics]
    if known:
        return Finding("fails", f"{known[0]} has another metric id than its features give")
    return Finding("open", f"not recomputed: {', '.join(sorted(set(names)))}")


def _disagreement(stated: ScoreRow, again: ScoreRow) -> str:
    """Return in words what differs beyond the tolerance, empty where nothing does."""
    facts = registry.facts_of(stated.metric)
    tolerance = facts.tolerance if facts else Tolerance()

    def far(a: float | None, b: float | None) -> bool:
        return tolerance.far(a, b, again.n)

    if far(stated.value, again.value):
        return f"{stated.metric} is stated as {stated.value}, the features give {again.value}"
    if stated.ci and again.ci is None:
        return f"{stated.metric}: the interval is stated as {stated.ci}, should be {again.ci}"
    if stated.ci and again.ci and any(map(far, stated.ci, again.ci)):
        return f"{stated.metric}: the interval is stated as {stated.ci}, should be {again.ci}"
    if (stated.n, stated.higher_is_better) != (again.n, again.higher_is_better):
        return f"{stated.metric}: n or direction differ"
    return ""


def _again(
    bundle: Bundle, run: Run, count: int, seed: int | None, weights: Path | None
) -> list[Finding]:
    """Make a few samples again and compare pixels, thumbnails and features."""
    from aubench.generators.contract import SampleFailure
    from aubench.generators.requests import call, requests

    if count < 1:
        return [Finding("open", "no image was made again")]
    generator, reason = _generator(bundle, run, weights)
    if generator is None:
        return [Finding("open", f"no image was made again: {reason}")]
    size, images = run.record.protocol.size, run.images()
    rng = np.random.default_rng(seed)
    picked = sorted(rng.permutation(len(bundle.made))[:count].tolist())
    identical, found = 0, list[Finding]()
    made: Remade = []
    for k in picked:
        name = bundle.made[k]
        wanted = requests(run.samples, images, generator, [run.ids.index(name)], size)
        try:
            image = call(generator, wanted, size)[0]
        except SampleFailure as failure:
            found.append(Finding("fails", f"{name} could not be made again: {failure.reason}"))
            continue
        gap = float(np.abs(thumbnail(image).astype(float) - bundle.thumbnail(name)).mean())
        same = pixel_digest(image) == bundle.digests[name]
        identical += same
        made.append((k, image, same))
        if gap > ALIKE:
            found.append(Finding("fails", f"{name} made again looks otherwise: {gap:.1f} levels"))
    found += _features_again(bundle, made)
    if not found:
        about = f"{len(picked)} images made again, {identical} with the same pixels"
        found.append(Finding("holds", f"{about}, the others alike in looks and features"))
    return found


def _generator(bundle: Bundle, run: Run, weights: Path | None) -> tuple[Generator | None, str]:
    """Return the model of the record, or None with the reason why it is not to be had."""
    from aubench.generators.contract import WeightSource
    from aubench.generators.registry import generator_class

    try:
        cls = generator_class(run.name)
        options: Any = {"samples": run.samples, "images": run.images()} if cls.info.control else {}
        generator = cls.load(WeightSource(weights), device="cpu", dtype="float32", **options)
    except AubenchError as error:
        return None, error.message
    if generator.weights_sha256 != bundle.record.model.weights_sha256:
        return None, f"the weights of '{run.name}' here are not the record's; give --weights"
    if generator_info(bundle.record.model).inputs != generator.info.inputs:
        return None, f"'{run.name}' here reads other inputs than the record says"
    return generator, ""


Remade = list[tuple[int, npt.NDArray[np.uint8], bool]]
"""Row, image, and whether its pixels are those of the ledger."""


def _features_again(bundle: Bundle, made: Remade) -> list[Finding]:
    """Compare the features of images made again with the rows of the bundle."""
    from aubench.evaluate.collect import load_networks
    from aubench.metrics.metric import Need
    from aubench.networks.extractors.registry import load_extractor
    from aubench.networks.extractors.registry import names as extractors
    from aubench.networks.network_choice import DEFAULT_NETWORKS

    found, names = [], bundle.networks() if made else []
    dataset = bundle.record.protocol.dataset
    needs = frozenset({Need.DETECTORS})
    detectors = load_networks(dataset, needs, "cpu", DEFAULT_NETWORKS).all() if names else []
    by_name = {network.name: network for network in detectors}
    for name in names:
        network: Any = load_extractor(name) if name in extractors() else by_name.get(name)
        if network is None:
            continue
        _, stored = bundle.features(name)
        fresh = network(np.stack([image for _, image, _ in made]))
        for array, values in fresh.items():
            for (k, _, same), value in zip(made, values, strict=True):
                other = stored[array][k]
                gap = float(np.abs(value - other).max() / max(1.0, float(np.abs(value).max())))
                limit = SAME if same else NEAR
                if not gap <= limit:
                    text = f"{name} {array} of {bundle.made[k]} differ from the image's: {gap:.3g}"
                    found.append(Finding("fails", text))
    return found

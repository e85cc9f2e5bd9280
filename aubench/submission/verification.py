"""A bundle checked: what it is made of, every number from the pixels, images made again.

Nothing is believed that the submitter can write. What holds is a record computed here; that one,
and not what was sent, is what a leaderboard keeps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aubench import __version__
from aubench.errors import AubenchError
from aubench.metrics import registry
from aubench.metrics.faces.target_likeness import alarming
from aubench.metrics.metric import Tolerance
from aubench.metrics.subject_groups import SubjectGroups
from aubench.records.record import Record, ScoreRow, Verified
from aubench.storage.run_folder import RunFolder, pixel_digest, write_png
from aubench.submission.bundle import Bundle, changed_files, read_bundle
from aubench.submission.findings import Finding, fails, holds, is_open
from aubench.submission.remake import (
    InstalledModel,
    ModelSource,
    Remake,
    check_card,
    load_model,
)

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.evaluate.evaluate import Scored
    from aubench.networks.network_choice import NetworkChoice
    from aubench.protocols.protocol import Protocol

SHIPPED = ModelSource()
"""The model as it is installed, in a sandbox."""


@dataclass(frozen=True)
class Verification:
    """What was found, and the record as it was computed here; None where something fails."""

    findings: list[Finding]
    record: Record | None = None

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words."""
        return [one.what for one in self.findings if one.verdict == "fails"]


@dataclass(frozen=True)
class _Case:
    """A bundle whose ledger agrees with the protocol.

    Attributes:
        bundle: The bundle.
        protocol: Of its record, as installed here.
        asked: Samples of the ledger, with the run's seeds.
        samples: Those of them that the model is made for.
    """

    bundle: Bundle
    protocol: Protocol
    asked: SampleSet
    samples: SampleSet


def verify(
    path: Path, images: int = 8, seed: int | None = None, source: ModelSource = SHIPPED
) -> Verification:
    """Return what holds and what does not of a bundle.

    Args:
        path: Its folder.
        images: How many samples are made again; 0 leaves the model alone.
        seed: Seed of their choice; by default one that nobody knows beforehand.
        source: Where the model comes from.

    Raises:
        AubenchError: It is no bundle, or holds what no bundle holds.
    """
    bundle = read_bundle(path)
    found = [fails(text) for text in changed_files(path)]
    if not found:
        found.append(holds("every file has its checksum"))
    try:
        case = _case(bundle)
    except AubenchError as error:
        return Verification([*found, fails(error.message)])
    found += _counts(case)
    model = InstalledModel(None, None, "no image was asked for")
    if images or not bundle.carries_images:
        model = load_model(bundle.record, case.protocol, case.asked, source)
        found += _card(case, model)
    if any(one.verdict == "fails" for one in found):
        return Verification([*found, is_open("nothing was recomputed, since this fails already")])
    same = made = 0
    if model.generator is not None:
        remake = Remake(bundle, model.generator, case.asked)
        rng = np.random.default_rng(seed)
        picked = _some(list(bundle.digests), images if bundle.carries_images else None, rng)
        made = len(picked)
        try:
            more, same = remake.compare(picked)
            found += [*more, *remake.ask_unmade(_some(list(bundle.failures), images, rng))]
        except AubenchError as error:
            return Verification([*found, fails(error.message)])
    elif bundle.unsupported:
        count = len(bundle.unsupported)
        found.append(fails(f"{count} samples are left out, and no model was asked whether rightly"))
    else:
        found.append(is_open("no image was made again: who made the images is not known"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            scored = _measured(case, model, Path(folder))
        except AubenchError as error:
            return Verification([*found, fails(error.message)])
    found += _compared(case, scored)
    verified = Verified(aubench=__version__, made_again=made, same_pixels=same)
    record = _recomputed(case, model, scored, verified)
    found += _likeness(record)
    failed = any(one.verdict == "fails" for one in found)
    return Verification(found, None if failed else record)


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
        found += [fails(text) for text in wrong]
        if not wrong:
            found.append(holds(f"weights and code are those committed to, {held.digest[:12]}"))
    if seal is not None:
        from aubench.protocols.sealed_draws import read_seal

        stated, protocol = read_seal(seal), record.protocol
        same = (protocol.dataset, protocol.name) == (stated.dataset, stated.name)
        what = f"draw {stated.name}, sealed as {stated.digest[:12]}"
        text = f"the run is of {what}" if same else f"the run is of {protocol.name}, not of {what}"
        found.append(holds(text) if same else fails(text))
    return found


def _some(names: Sequence[str], count: int | None, rng: np.random.Generator) -> list[str]:
    """Return so many names drawn at random, all for None, in their order."""
    places = rng.permutation(len(names))[:count]
    return [names[place] for place in sorted(places.tolist())]


def _case(bundle: Bundle) -> _Case:
    """Hold the ledger against the protocol installed here.

    Raises:
        AubenchError: It is not of its samples.
    """
    from aubench.protocols.protocol import load_protocol

    stated = bundle.record.protocol
    protocol = load_protocol(stated.name, stated.dataset)
    if (protocol.sha256, str(protocol.version)) != (stated.sha256, stated.version):
        raise AubenchError(f"the record follows another version of protocol '{stated.name}'")
    whole = protocol.samples()
    place = {str(name): i for i, name in enumerate(whole.ids)}
    strangers = [name for name in bundle.ids if name not in place]
    if strangers:
        raise AubenchError(f"sample '{strangers[0]}' is not of protocol '{protocol.name}'")
    if len(set(bundle.ids)) < len(bundle.ids):
        raise AubenchError("a sample id occurs twice in the ledger")
    rows = [place[name] for name in bundle.ids]
    if rows != sorted(rows):
        raise AubenchError("the samples are not in the order of the protocol")
    fewer = len(whole) - len(rows)
    if fewer and not bundle.record.counts.limited:
        raise AubenchError(f"{fewer} samples of the protocol are missing")
    asked = whole.subset(rows)
    if bundle.record.provenance.seed:
        seeds = asked.frame["seed"] + bundle.record.provenance.seed
        asked = replace(asked, frame=asked.frame.assign(seed=seeds))
    measured = asked.subset([name not in bundle.unsupported for name in asked.ids])
    return _Case(bundle, protocol, asked, measured)


def _counts(case: _Case) -> Iterator[Finding]:
    from aubench.datasets import image_source

    bundle, record = case.bundle, case.bundle.record
    counts = record.counts
    if counts.limited:
        yield is_open("a run with --limit, which no leaderboard takes")
    ledger = RunFolder(bundle.path, dict(bundle.digests), dict(bundle.failures))
    same = ledger.digest(bundle.measured) == record.provenance.images_sha256
    yield (
        holds("the ledger is that of the record's images")
        if same
        else fails("the record speaks of other images than the ledger")
    )
    stated = counts.asked, counts.generated, counts.failed, counts.unsupported
    if stated != tuple(map(len, (bundle.ids, bundle.digests, bundle.failures, bundle.unsupported))):
        yield fails("the record counts other samples than the ledger")
    if image_source(record.protocol.dataset).fingerprint != record.protocol.dataset_fingerprint:
        yield fails("the data set has another fingerprint here")


def _card(case: _Case, model: InstalledModel) -> Iterator[Finding]:
    bundle = case.bundle
    stated = bundle.record.model
    if model.generator is None or model.info is None:
        remedy = "install it, or check the numbers alone by --images 0"
        yield fails(f"model '{stated.name}' cannot be asked: {model.reason}; {remedy}")
        return
    yield from check_card(stated, model.info)
    size = model.generator.info.size or case.protocol.size
    if bundle.record.protocol.size != size:
        yield fails(f"images of {bundle.record.protocol.size} px, the model makes {size} px")


def _measured(case: _Case, model: InstalledModel, place: Path) -> Scored:
    """Measure the images of a bundle, or images made again, as a run does.

    Raises:
        AubenchError: An image is not that of the ledger, or there are too few.
    """
    from aubench.datasets import image_source
    from aubench.evaluate.collect import Evaluation
    from aubench.evaluate.evaluate import score

    bundle, record = case.bundle, case.bundle.record
    folder = RunFolder(place, failures=dict(bundle.failures))
    remake = Remake(bundle, model.generator, case.asked) if model.generator else None
    for name, digest in bundle.digests.items():
        if bundle.carries_images:
            image = bundle.image(name)
            if pixel_digest(image) != digest:
                raise AubenchError(f"the image of {name} is not that of the ledger")
        else:
            assert remake is not None
            image = remake.image(name)
        write_png(folder.image(name), image)
        folder.digests[name] = pixel_digest(image)
    info = model.info or record.model
    return score(
        Evaluation(
            folder,
            case.samples,
            image_source(record.protocol.dataset),
            case.protocol,
            _metrics(case),
            record.protocol.size,
            choice=_networks(record),
            reads_text="text" in info.inputs or info.control,
            model=record.model.name,
        )
    )


def _metrics(case: _Case) -> tuple[str, ...]:
    """Return the metrics of the record, and of a whole run those of the usual profile too."""
    record = case.bundle.record
    usual: tuple[str, ...] = ()
    if not record.counts.limited:
        usual = registry.profile("paper", graded=case.protocol.definition.graded)
    owners = [registry.owner(row.metric) for row in record.scores]
    # Groups of subjects are rows of other metrics, and the metric has none of its own.
    split = [SubjectGroups.name] if record.groups else []
    named = [one.name for one in owners if one is not None]
    return tuple(dict.fromkeys([*named, *split, *usual]))


def _networks(record: Record) -> NetworkChoice:
    """Return the usual networks; the text classifier is the shipped one that the record names."""
    from aubench.networks.network_choice import DEFAULT_NETWORKS
    from aubench.networks.textau import find_text_au

    found = find_text_au([row.id for row in record.scores])
    return replace(DEFAULT_NETWORKS, text_au=found)


Key = tuple[str, str, str]
"""Stratum or group, score, metric id."""


def _rows(
    scores: Sequence[ScoreRow], *families: dict[str, list[ScoreRow]]
) -> list[tuple[Key, ScoreRow]]:
    found = [(("", row.metric, row.id), row) for row in scores]
    for family in families:
        found += [((name, r.metric, r.id), r) for name, rows in family.items() for r in rows]
    return found


def _compared(case: _Case, scored: Scored) -> list[Finding]:
    """Hold every stated number against the one computed here."""
    record = case.bundle.record
    stated = _rows(record.scores, record.subsets, record.groups)
    computed = dict(_rows(scored.rows, scored.subsets, scored.groups))
    void = {key[1]: row.note for key, row in computed.items() if row.value is None}
    found = [
        fails(f"{_called(key)} is stated {count} times")
        for key, count in Counter((family, name) for (family, name, _), _ in stated).items()
        if count > 1
    ]
    left_out: dict[str, None] = {}
    checked, left = 0, {key for key, row in computed.items() if row.value is not None}
    for key, row in stated:
        left.discard(key)
        again = computed.get(key)
        if row.value is None:
            if again is not None and again.value is not None:
                left.add(key)
            continue
        if again is None or again.value is None:
            found.append(fails(_unknown(key, row, void)))
            continue
        checked += 1
        wrong = _disagreement(row, again)
        if wrong:
            found.append(fails(f"{key[0]} {wrong}".strip()))
    reasons = {key[:2]: row.note for key, row in stated if row.value is None}
    groups = {one.name for name in _names(stated) if (one := registry.owner(name)) is not None}
    for key in left:
        reason = reasons.get(key[:2]) or reasons.get(("", key[1]))
        owner = registry.owner(key[1])
        if reason is not None:
            found.append(is_open(f"{_called(key)}: {reason}; it is here"))
        elif owner is not None and owner.name not in groups:
            left_out.setdefault(owner.name)
        else:
            found.append(fails(f"the record hides {_called(key)}"))
    found += [fails(f"the record leaves out metric '{name}'") for name in left_out]
    if not left_out:  # whose networks and texts this speaks of
        found += _provenance(record, scored)
    if not any(one.verdict == "fails" for one in found):
        found.append(holds(f"{checked} numbers recomputed from the pixels agree"))
    return found


def _names(rows: Sequence[tuple[Key, ScoreRow]]) -> set[str]:
    return {key[1] for key, _ in rows}


def _called(key: tuple[str, ...]) -> str:
    return f"{key[0]} {key[1]}".strip()


def _unknown(key: Key, row: ScoreRow, void: dict[str, str]) -> str:
    """Say why a stated number does not come out here."""
    if key[1] in void:
        return f"{_called(key)} could not be recomputed: {void[key[1]]}"
    if registry.owner(row.metric) is None:
        return f"{_called(key)} is no score of an installed metric"
    return f"{_called(key)} has another metric id than its images give"


def _provenance(record: Record, scored: Scored) -> Iterator[Finding]:
    stated, here = record.provenance.networks, scored.networks
    wrong = sorted(name for name in stated if stated[name] != here.get(name))
    if wrong:
        yield fails(f"measured with other networks than are installed here: {', '.join(wrong)}")
    if record.provenance.target_source != scored.target_source:
        told = record.provenance.target_source, scored.target_source
        yield fails("AAAD is said to compare with {}, here it is {}".format(*told))
    counts = record.counts
    for name in ("unsure_texts", "like_targets"):
        mine, theirs = getattr(scored, name), getattr(counts, name)
        if theirs is not None and mine != theirs:
            yield fails(f"{name} is stated as {theirs}, here it is {mine}")


def _disagreement(stated: ScoreRow, again: ScoreRow) -> str:
    """Return in words what differs beyond the tolerance, empty where nothing does."""
    facts = registry.facts_of(stated.metric)
    tolerance = facts.tolerance if facts else Tolerance()

    def far(a: float | None, b: float | None) -> bool:
        return tolerance.far(a, b, again.n)

    if far(stated.value, again.value):
        return f"{stated.metric} is stated as {stated.value}, the images give {again.value}"
    if (stated.ci is None) != (again.ci is None) or (
        stated.ci and again.ci and any(map(far, stated.ci, again.ci))
    ):
        return f"{stated.metric}: the interval is stated as {stated.ci}, should be {again.ci}"
    facts_of = [(row.n, row.higher_is_better, row.informative) for row in (stated, again)]
    if facts_of[0] != facts_of[1]:
        return f"{stated.metric}: n, direction or informative differ"
    return ""


def _recomputed(case: _Case, model: InstalledModel, scored: Scored, verified: Verified) -> Record:
    """Return the record with all that was computed here in place of what was sent."""
    sent = case.bundle.record
    return sent.model_copy(
        update={
            "model": model.info or sent.model,
            "counts": sent.counts.model_copy(
                update={
                    "unsure_texts": scored.unsure_texts,
                    "like_targets": scored.like_targets,
                }
            ),
            "scores": scored.rows,
            "subsets": scored.subsets,
            "groups": scored.groups,
            "provenance": sent.provenance.model_copy(
                update={"networks": scored.networks, "target_source": scored.target_source}
            ),
            "verified": verified,
        }
    )


def _likeness(record: Record) -> Iterator[Finding]:
    counts = record.counts
    if record.model.control or not alarming(counts.like_targets, counts.generated):
        return
    yield fails(f"{counts.like_targets} of {counts.generated} images are their targets, or nearly")

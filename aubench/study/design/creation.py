"""``aubench study create``: draw the trials, strip the images, seal the key."""

from __future__ import annotations

import csv
import io
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, suggest
from aubench.storage.files import sha256_bytes, sync, sync_tree, write_bytes, write_text
from aubench.storage.text_files import read_text
from aubench.study.design import orders, sealing, sources, trials
from aubench.study.design.files import (
    CONSENT,
    DESIGN,
    IMAGES,
    KEY,
    LINKS,
    SECRETS,
    Criteria,
    Design,
    Key,
    KeyImage,
    KeyTrial,
    Rules,
    Secrets,
    StudyProtocol,
    Task,
    Trial,
    blanks,
    read_criteria,
    text_of,
)
from aubench.study.design.language import FOLDER, STRINGS, Language
from aubench.study.design.language import find as find_language
from aubench.study.design.likeness import Look, give, look_of
from aubench.study.design.needed import Needed, is_plan, take_plan, write_needed
from aubench.study.design.settings import Settings
from aubench.study.design.units import Unit, places_of, units_of

if TYPE_CHECKING:
    import numpy as np

    from aubench.datasets.samples import SampleSet
    from aubench.protocols.protocol import Protocol


LOOKED_AT = 8
"""Samples from which the look of a model is taken."""


@dataclass(frozen=True)
class StudyConfig:
    """What ``aubench study create`` was asked for.

    Attributes:
        raters: Places, each a sequence of orders.
        spare: Links beyond the places, for those who do not come or do not finish.
        size: Side of the images; None takes the smallest of the models' own.
        task: What raters do.
        shown: Pairs or single faces of each sample that a place shows; None: all.
        reference: The resting face is shown beside the others.
        language: Code of a shipped language, or a file.
        settings: Consent blanks, panel, questions, quotas, own pages.
        seed: Seed of the draw of samples, trials and orders.
    """

    models: tuple[str, ...]
    protocol: str = "conflict"
    data: str = DEFAULT_DATASET
    per_combination: int = 5
    raters: int = 20
    spare: int = 5
    gold: int = 2
    duplicates: int = 3
    size: int | None = None
    seed: int = 0
    name: str = "study"
    lease_minutes: float = 60.0
    rules: Rules = field(default_factory=lambda: Rules.model_validate({}))
    roots: tuple[Path, ...] = (Path("runs"),)
    runs: Mapping[str, Path] = field(default_factory=dict)
    consent: Path | None = None
    criteria: Path | None = None
    task: Task = "rank"
    shown: int | None = None
    reference: bool = True
    language: str = "en"
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class CreatedStudy:
    """What was made.

    Attributes:
        admin: Token of the admin page; only its digest is kept in the study.
        blanks: Blanks of the consent text that are not filled in.
        balanced: The Williams design is complete over the places.
    """

    folder: Path
    design_sha256: str
    key_sha256: str
    trials: int
    links: tuple[str, ...]
    admin: str
    balanced: bool
    rows: int
    blanks: tuple[str, ...] = ()


@dataclass
class _Images:
    """Images entered under opaque names; written when all are known to be sound."""

    size: int
    secret: str
    data: dict[str, bytes] = field(default_factory=dict)
    key: dict[str, KeyImage] = field(default_factory=dict)

    def add(self, image: sources.Image, source: str, sample: str) -> str:
        name = sealing.opaque(self.secret, source, sample)
        self.data[name] = sources.bare_png(sources.one_size(image, self.size))
        self.key[name] = KeyImage(source=source, sample=sample)
        return name


@dataclass(frozen=True)
class _Drawn:
    """Everything that was drawn.

    Attributes:
        drafts, units: Samples, and what is shown of them.
        ids, named: Of each unit; ``named`` in the order of the treatments.
        references: Names of the resting faces, by draft.
        practice: The practice trial, its images and its resting face.
    """

    protocol: Protocol
    runs: Sequence[sources.Run]
    drafts: Sequence[trials.Draft]
    units: Sequence[Unit]
    ids: Sequence[str]
    named: Sequence[Sequence[str]]
    references: Sequence[str | None]
    practice: tuple[trials.Draft, Sequence[str], str | None]
    images: _Images


def create(config: StudyConfig, out: Path) -> CreatedStudy:
    """Make a study folder.

    Raises:
        AubenchError: ``out`` exists; the models, runs or counts do not fit.
    """
    import numpy as np

    planned = is_plan(out)
    if out.exists() and not planned:
        raise AubenchError(f"{out} exists", "choose another --out; a study is never overwritten")
    if not 2 <= len(config.models) <= 9:
        raise AubenchError(f"--models names {len(config.models)}", "name two to nine")
    language, words = find_language(config.language)
    generator = np.random.default_rng(config.seed)
    needed, main, samples, protocol = _main(config, generator)
    drawn = _draw(config, generator, main, samples, protocol)
    if planned:
        take_plan(needed, out)
    key = text_of(_key(config, drawn))
    consent = _consent(config, language)
    stated = Stated(language.code, sha256_bytes(key.encode()), sha256_bytes(consent))
    design = _design(config, drawn, generator, stated)
    return _save(config, out, design, drawn.images, _Texts(key, consent, words))


@dataclass(frozen=True)
class Stated:
    """What the design states of its other files."""

    language: str
    key_sha256: str
    consent_sha256: str


@dataclass(frozen=True)
class _Texts:
    """Other files of the folder; ``words`` where the language is of the leader's own."""

    key: str
    consent: bytes
    words: str | None


def plan(config: StudyConfig, out: Path) -> tuple[Path, Needed]:
    """List the samples that a study will draw, before any model has made them.

    Raises:
        AubenchError: ``out`` holds something else, or the counts do not fit.
    """
    import numpy as np

    needed, *_ = _main(config, np.random.default_rng(config.seed))
    return write_needed(needed, out), needed


def _main(
    config: StudyConfig, generator: np.random.Generator
) -> tuple[Needed, list[trials.Draft], SampleSet, Protocol]:
    """Draw the main samples, the first thing that is drawn."""
    from aubench.protocols.protocol import load_protocol

    protocol = load_protocol(config.protocol, config.data)
    samples = protocol.samples()
    main = trials.draw_main(samples.frame, config.per_combination, generator)
    needed = Needed(
        protocol=config.protocol,
        data=config.data,
        protocol_sha256=protocol.sha256,
        samples=tuple(sorted(draft.sample for draft in main)),
    )
    return needed, main, samples, protocol


def _draw(
    config: StudyConfig,
    generator: np.random.Generator,
    main: list[trials.Draft],
    samples: SampleSet,
    protocol: Protocol,
) -> _Drawn:
    wanted = [draft.sample for draft in main]
    runs = sources.find_runs(config.models, config.roots, protocol, config.runs, wanted)
    faces = len(runs) if config.task == "rank" else 2
    known = trials.draw_known(samples, main, config.gold + 1, faces, generator)
    drafts = main + trials.repeat(main, config.duplicates, generator) + known[:-1]
    size = config.size or min(min(sources.run_image(r, main[0].sample).shape[:2]) for r in runs)
    images = _Images(size, sealing.new_secret())
    looks = _looks(config, main, runs, images.size)
    faces_of = _Faces(images, config.data, looks, generator)
    of_draft = _name_images(drafts, runs, faces_of)
    units = units_of(config.task, drafts, [len(names) for names in of_draft])
    named = [[of_draft[unit.draft][face] for face in unit.treatments] for unit in units]
    practice = _known_images(known[-1], faces_of)
    practice = practice[: max(1, len(units[0].treatments))]
    references = [_reference(config, draft, images) for draft in (*drafts, known[-1])]
    ids = [f"t{index:03d}" for index in generator.permutation(len(units))]
    return _Drawn(
        protocol,
        runs,
        drafts,
        units,
        ids,
        named,
        references[:-1],
        (known[-1], practice, references[-1]),
        images,
    )


def _reference(config: StudyConfig, draft: trials.Draft, images: _Images) -> str | None:
    """Return the name of the resting face of a sample, where it is shown."""
    from aubench.run.execute import image_source

    if not config.reference or draft.reference is None:
        return None
    image = image_source(config.data).load(draft.reference, images.size)
    return images.add(image, "reference", draft.sample)


@dataclass(frozen=True)
class _Faces:
    """What gives images their names, and faces that are known the look of the others."""

    images: _Images
    data: str
    looks: Sequence[Look]
    generator: np.random.Generator

    def known(self, key: str, turn: int, source: str, sample: str) -> str:
        """Enter a face of the data set, with the look of one of the models."""
        from aubench.run.execute import image_source

        face = image_source(self.data).load(key, self.images.size)
        if self.looks:
            face = give(face, self.looks[turn % len(self.looks)], self.generator)
        return self.images.add(face, source, sample)


def _looks(
    config: StudyConfig, main: Sequence[trials.Draft], runs: Sequence[sources.Run], size: int
) -> list[Look]:
    """Return the look of each model's images, in the order of the models."""
    from aubench.run.execute import image_source

    source = image_source(config.data)
    shown = [draft for draft in main if draft.reference is not None][:LOOKED_AT]
    if not shown:
        return []
    plain = [source.load(str(draft.reference), size) for draft in shown]
    return [
        look_of([sources.one_size(sources.run_image(run, d.sample), size) for d in shown], plain)
        for run in runs
    ]


def _name_images(
    drafts: Sequence[trials.Draft], runs: Sequence[sources.Run], faces: _Faces
) -> list[list[str]]:
    """Return the opaque names of each trial's images, in the order of the treatments."""
    named: list[list[str]] = []
    for draft in drafts:
        if draft.repeats is not None:
            named.append(named[draft.repeats])
        elif draft.target is not None:
            named.append(_known_images(draft, faces))
        else:
            named.append(
                [
                    faces.images.add(sources.run_image(run, draft.sample), run.model, draft.sample)
                    for run in runs
                ]
            )
    return named


def _known_images(draft: trials.Draft, faces: _Faces) -> list[str]:
    """Return the names of the right face and the wrong ones, each in another model's look."""
    assert draft.target is not None
    turns = [int(turn) for turn in faces.generator.permutation(1 + len(draft.wrong))]
    names = [faces.known(draft.target, turns[0], "target", draft.sample)]
    for key, turn in zip(draft.wrong, turns[1:], strict=True):
        names.append(faces.known(key, turn, "wrong", f"{draft.sample} {key}"))
    return names


def _trial(
    identity: str, draft: trials.Draft, names: Sequence[str], reference: str | None
) -> Trial:
    return Trial(
        id=identity,
        combination=draft.combination,
        text=draft.text,
        images=tuple(sorted(names)),
        reference=reference,
    )


def _criteria(
    config: StudyConfig, drafts: Sequence[trials.Draft], language: str
) -> dict[str, Criteria]:
    known = read_criteria(config.criteria, language)
    asked = sorted({draft.combination for draft in drafts})
    for name in asked:
        if name not in known:
            raise AubenchError(
                f"no criteria in plain words for {name}", "give a table that has them by --criteria"
            )
    return {name: known[name] for name in asked}


def _design(
    config: StudyConfig,
    drawn: _Drawn,
    generator: np.random.Generator,
    stated: Stated,
) -> Design:
    protocol, drafts = drawn.protocol, drawn.drafts
    shown = [
        _trial(drawn.ids[i], drafts[unit.draft], drawn.named[i], drawn.references[unit.draft])
        for i, unit in enumerate(drawn.units)
    ]
    places = places_of(
        drawn.units, drafts, drawn.ids, drawn.named, config.raters, config.shown, generator
    )
    return Design(
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        aubench=_version(),
        size=drawn.images.size,
        rules=config.rules,
        protocol=StudyProtocol(
            name=protocol.name,
            version=protocol.version,
            sha256=protocol.sha256,
            dataset=protocol.dataset,
        ),
        combinations=tuple(dict.fromkeys(d.combination for d in drafts if d.kind == "main")),
        criteria=_criteria(config, [*drafts, drawn.practice[0]], stated.language),
        trials=tuple(sorted(shown, key=lambda trial: trial.id)),
        practice=_trial("practice", *drawn.practice),
        places=tuple(places),
        task=config.task,
        language=stated.language,
        statements=config.settings.statements,
        attention=config.gold > 0,
        intake=config.settings.intake,
        lease_minutes=config.lease_minutes,
        consent_sha256=stated.consent_sha256,
        key_sha256=stated.key_sha256,
    )


def _save(
    config: StudyConfig, out: Path, design: Design, images: _Images, texts: _Texts
) -> CreatedStudy:
    """Write the folder under a temporary name, then rename it."""
    tokens = tuple(sealing.new_token() for _ in range(config.raters + config.spare))
    admin, public, preview = (sealing.new_token() for _ in range(3))
    text = text_of(design)
    secrets = Secrets(
        image_secret=sealing.new_secret(),
        admin_sha256=sealing.token_digest(admin),
        links_sha256=tuple(map(sealing.token_digest, tokens)),
        public_sha256=sealing.token_digest(public),
        preview_sha256=sealing.token_digest(preview),
        exits=config.settings.exits,
    )
    leader = {
        "admin": f"/admin/{admin}/",
        "preview": f"/preview/{preview}/",
        "public": f"/join/{public}/",
    }
    building = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        for name, data in images.data.items():
            write_bytes(building / IMAGES / f"{name}.png", data)
        write_text(building / DESIGN, text)
        write_bytes(building / CONSENT, texts.consent)
        if texts.words is not None:
            write_text(building / STRINGS, texts.words)
        sealing.write_private(building / KEY, texts.key)
        sealing.write_private(building / SECRETS, text_of(secrets))
        sealing.write_private(building / LINKS, _links(tokens, leader))
        sync_tree(building)
        building.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    rows = len(orders.williams(design.k))
    return CreatedStudy(
        out,
        sha256_bytes(text.encode()),
        design.key_sha256,
        len(design.trials),
        tokens,
        admin,
        config.raters % rows == 0,
        rows,
        tuple(blanks(texts.consent.decode("utf-8"))),
    )


def _key(config: StudyConfig, drawn: _Drawn) -> Key:
    entries = {
        drawn.ids[i]: _entry(drawn, i, drawn.drafts[unit.draft])
        for i, unit in enumerate(drawn.units)
    }
    return Key(
        secret=drawn.images.secret,
        seed=config.seed,
        models=config.models,
        images=drawn.images.key,
        runs={run.model: run.folder.digest(sorted(run.folder.digests)) for run in drawn.runs},
        trials=entries,
        task=config.task,
    )


def _entry(drawn: _Drawn, number: int, draft: trials.Draft) -> KeyTrial:
    unit = drawn.units[number]
    known = draft.target is not None and 0 in unit.treatments
    return KeyTrial(
        kind=draft.kind,
        sample=draft.sample,
        subject=draft.subject,
        repeats=None if unit.repeats is None else drawn.ids[unit.repeats],
        best=drawn.named[number][0] if known else None,
        wanted=dict(draft.wanted),
    )


def _consent(config: StudyConfig, language: Language) -> bytes:
    """Return the consent text: blanks filled in, and what this study stores beyond the rest."""
    own = FOLDER / f"consent.{language.code}.txt"
    shipped = own if own.is_file() else Path(__file__).with_name("consent.txt")
    source = config.consent or shipped
    try:
        text = read_text(source)
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise AubenchError(f"{source} {error}", "save it as UTF-8") from error
    known = blanks(text)
    for name, words in config.settings.consent.items():
        if name not in known:
            raise AubenchError(
                f"[consent] {name}: {source} has no such blank{suggest(name, known)}",
                f"blanks: {', '.join(known) or 'none'}",
            )
        text = text.replace(f"[[{name}]]", words.strip())
    return "\n\n".join([text.strip(), *_notes(config, language)]).encode() + b"\n"


def _notes(config: StudyConfig, language: Language) -> list[str]:
    words, settings = language.tables["consent"], config.settings
    notes = []
    if config.gold:
        notes.append(words["attention"].format(share=f"{config.rules.min_gold:.0%}"))
    if settings.questions:
        notes.append(words["form"])
    if settings.device:
        notes.append(words["device"])
    if settings.panel:
        notes.append(words["panel"].format(names=", ".join(settings.panel.parameters)))
    return notes


def _links(tokens: Sequence[str], leader: Mapping[str, str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["who", "path"])
    writer.writerows(leader.items())
    writer.writerows([f"rater {number}", f"/s/{token}/"] for number, token in enumerate(tokens, 1))
    return stream.getvalue()


def _version() -> str:
    from aubench import __version__

    return __version__

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

from aubench.errors import AubenchError
from aubench.files import sha256_bytes, write_bytes, write_text
from aubench.study import orders, sealing, sources, trials
from aubench.study.results import StudyProtocol
from aubench.study.settings import (
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
    Step,
    Trial,
    read_criteria,
    text_of,
)  # fmt: skip

if TYPE_CHECKING:
    import numpy as np

    from aubench.protocol import Protocol


@dataclass(frozen=True)
class Order:
    """What ``aubench study create`` was asked for.

    Attributes:
        raters: places, each a sequence of orders.
        spare: links beyond the places, for those who do not come or do not finish.
        size: side of the images; None takes the smallest of the models' own.
        seed: of the draw of samples, trials and orders.
    """

    models: tuple[str, ...]
    protocol: str = "conflict"
    data: str = "synfacs"
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


@dataclass(frozen=True)
class Created:
    """What was made.

    Attributes:
        admin: token of the admin page; only its digest is kept in the study.
        balanced: the Williams design is complete over the places.
    """

    folder: Path
    design_sha256: str
    key_sha256: str
    trials: int
    links: tuple[str, ...]
    admin: str
    balanced: bool
    rows: int


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
        drafts, ids, named: of each trial; ``named`` in the order of the treatments.
        practice: the practice trial and its images.
    """

    protocol: Protocol
    runs: Sequence[sources.Run]
    drafts: Sequence[trials.Draft]
    ids: Sequence[str]
    named: Sequence[Sequence[str]]
    practice: tuple[trials.Draft, Sequence[str]]
    images: _Images


def create(order: Order, out: Path) -> Created:
    """Make a study folder.

    Raises:
        AubenchError: ``out`` exists; the models, runs or counts do not fit.
    """
    import numpy as np

    if out.exists():
        raise AubenchError(f"{out} exists", "choose another --out; a study is never overwritten")
    if not 2 <= len(order.models) <= 9:
        raise AubenchError(f"--models names {len(order.models)}", "name two to nine")
    generator = np.random.default_rng(order.seed)
    drawn = _draw(order, generator)
    key = text_of(_key(order, drawn))
    consent = _consent(order.consent)
    design = _design(order, drawn, generator, sha256_bytes(key.encode()), sha256_bytes(consent))
    return _save(order, out, design, drawn.images, key, consent)


def _draw(order: Order, generator: np.random.Generator) -> _Drawn:
    from aubench.protocol import load_protocol

    protocol = load_protocol(order.protocol, order.data)
    runs = sources.find_runs(order.models, order.roots, protocol, order.runs)
    samples = protocol.samples()
    main = trials.draw_main(samples.frame, order.per_combination, generator)
    known = trials.draw_known(samples, main, order.gold + 1, len(runs), generator)
    drafts = main + trials.repeat(main, order.duplicates, generator) + known[:-1]
    size = order.size or min(min(sources.run_image(r, main[0].sample).shape[:2]) for r in runs)
    images = _Images(size, sealing.new_secret())
    named = _name_images(drafts, runs, images, order.data)
    practice = (known[-1], _known_images(known[-1], images, order.data))
    ids = [f"t{index:03d}" for index in generator.permutation(len(drafts))]
    return _Drawn(protocol, runs, drafts, ids, named, practice, images)


def _name_images(
    drafts: Sequence[trials.Draft], runs: Sequence[sources.Run], images: _Images, data: str
) -> list[list[str]]:
    """Return the opaque names of each trial's images, in the order of the treatments."""
    named: list[list[str]] = []
    for draft in drafts:
        if draft.repeats is not None:
            named.append(named[draft.repeats])
        elif draft.target is not None:
            named.append(_known_images(draft, images, data))
        else:
            named.append([
                images.add(sources.run_image(run, draft.sample), run.model, draft.sample)
                for run in runs
            ])  # fmt: skip
    return named


def _known_images(draft: trials.Draft, images: _Images, data: str) -> list[str]:
    from aubench.engine.run import image_source

    source = image_source(data)
    assert draft.target is not None
    names = [images.add(source.load(draft.target, images.size), "target", draft.sample)]
    for key in draft.wrong:
        names.append(images.add(source.load(key, images.size), "wrong", f"{draft.sample} {key}"))
    return names


def _trial(identity: str, draft: trials.Draft, names: Sequence[str]) -> Trial:
    return Trial(
        id=identity, combination=draft.combination, text=draft.text, images=tuple(sorted(names))
    )


def _places(order: Order, drawn: _Drawn, generator: np.random.Generator) -> list[tuple[Step, ...]]:
    drafts, ids, named = drawn.drafts, drawn.ids, drawn.named
    rows = orders.williams(len(named[0]))
    slots = [
        orders.Slot(ids[i], draft.subject, None if draft.repeats is None else ids[draft.repeats])
        for i, draft in enumerate(drafts)
    ]
    # Rows and trials are matched at random, so that no trial is tied to its combination's rows.
    offset = generator.permutation(len(drafts))
    places = []
    for place in range(order.raters):
        steps = []
        for index in orders.trial_order(slots, generator):
            row = rows[orders.image_row(place, int(offset[index]), len(rows))]
            names = sorted(named[index])
            sequence = tuple(names.index(named[index][treatment]) for treatment in row)
            steps.append(Step(trial=ids[index], order=sequence))
        places.append(tuple(steps))
    return places


def _criteria(order: Order, drafts: Sequence[trials.Draft]) -> dict[str, Criteria]:
    known = read_criteria(order.criteria)
    asked = sorted({draft.combination for draft in drafts})
    for name in asked:
        if name not in known:
            raise AubenchError(
                f"no criteria in plain words for {name}", "give a table that has them by --criteria"
            )
    return {name: known[name] for name in asked}


def _design(
    order: Order,
    drawn: _Drawn,
    generator: np.random.Generator,
    key_sha256: str,
    consent_sha256: str,
) -> Design:
    protocol, drafts = drawn.protocol, drawn.drafts
    shown = [_trial(drawn.ids[i], draft, drawn.named[i]) for i, draft in enumerate(drafts)]
    return Design(
        name=order.name, created=datetime.now(UTC).isoformat(timespec="seconds"),
        aubench=_version(), size=drawn.images.size, rules=order.rules,
        protocol=StudyProtocol(name=protocol.name, version=protocol.version,
                               sha256=protocol.sha256, dataset=protocol.dataset),
        combinations=tuple(dict.fromkeys(d.combination for d in drafts if d.kind == "main")),
        criteria=_criteria(order, [*drafts, drawn.practice[0]]),
        trials=tuple(sorted(shown, key=lambda trial: trial.id)),
        practice=_trial("practice", *drawn.practice),
        places=tuple(_places(order, drawn, generator)),
        lease_minutes=order.lease_minutes, consent_sha256=consent_sha256, key_sha256=key_sha256,
    )  # fmt: skip


def _save(
    order: Order, out: Path, design: Design, images: _Images, key: str, consent: bytes
) -> Created:
    """Write the folder under a temporary name, then rename it."""
    tokens = tuple(sealing.new_token() for _ in range(order.raters + order.spare))
    admin, text = sealing.new_token(), text_of(design)
    secrets = Secrets(
        image_secret=sealing.new_secret(),
        admin_sha256=sealing.token_digest(admin),
        links_sha256=tuple(map(sealing.token_digest, tokens)),
    )
    building = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        for name, data in images.data.items():
            write_bytes(building / IMAGES / f"{name}.png", data)
        write_text(building / DESIGN, text)
        write_bytes(building / CONSENT, consent)
        sealing.write_private(building / KEY, key)
        sealing.write_private(building / SECRETS, text_of(secrets))
        sealing.write_private(building / LINKS, _links(tokens, admin))
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    rows = len(orders.williams(design.k))
    return Created(
        out, sha256_bytes(text.encode()), design.key_sha256, len(design.trials), tokens, admin,
        order.raters % rows == 0, rows,
    )  # fmt: skip


def _key(order: Order, drawn: _Drawn) -> Key:
    ids, named = drawn.ids, drawn.named
    entries = {
        ids[i]: KeyTrial(
            kind=draft.kind, sample=draft.sample, subject=draft.subject,
            repeats=None if draft.repeats is None else ids[draft.repeats],
            best=named[i][0] if draft.target is not None else None,
        )
        for i, draft in enumerate(drawn.drafts)
    }  # fmt: skip
    return Key(
        secret=drawn.images.secret, seed=order.seed, models=order.models, images=drawn.images.key,
        runs={run.model: run.folder.digest(sorted(run.folder.digests)) for run in drawn.runs},
        trials=entries,
    )  # fmt: skip


def _consent(path: Path | None) -> bytes:
    source = path or Path(__file__).with_name("consent.txt")
    try:
        data = source.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AubenchError(f"{source} is not UTF-8 text", "save it as UTF-8") from error
    return data


def _links(tokens: Sequence[str], admin: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["who", "path"])
    writer.writerow(["admin", f"/admin/{admin}/"])
    writer.writerows([f"rater {number}", f"/s/{token}/"] for number, token in enumerate(tokens, 1))
    return stream.getvalue()


def _version() -> str:
    from aubench import __version__

    return __version__

"""``aubench study simulate``: bots go through a study, once or many times."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.study.analysis import answers
from aubench.study.analysis.plackett_luce import expected_scores
from aubench.study.analysis.results import MEAN, StudyResults
from aubench.study.analysis.scoring import Answered, Bootstrap, analyse
from aubench.study.design.files import SECRETS, Design, Key, Secrets, read, read_design
from aubench.study.design.sealing import unseal
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.server.store import Store, open_engine, sqlite_url
from aubench.study.simulation import bots


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth in repeated simulated studies.

    Attributes:
        studies: How many.
        truth: Expected AUCHS by model.
        mean: Share of studies whose interval of the mean held it, by model.
        cells: The same over all combinations and models.
        worths: The same of Plackett-Luce worths, by model; None with random effects.
        order: Share of studies that put all models in the true order.
        width: Mean width of the interval of the mean.
    """

    studies: int
    truth: dict[str, float]
    mean: dict[str, float]
    cells: float
    worths: dict[str, float] | None
    order: float
    width: float


def truth(world: bots.World, draws: int = 200_000) -> dict[str, float]:
    """Return the expected AUCHS of each model over raters and items, in closed form if it can."""
    logs = np.log([world.worths[name] for name in world.key.models])
    if not (world.rater_spread or world.item_spread):
        values = expected_scores(np.exp(logs - logs.max()))
    else:
        generator = np.random.default_rng(world.seed)
        spread = np.hypot(world.rater_spread, world.item_spread)
        utilities = logs + spread * generator.standard_normal((draws, len(logs)))
        values = expected_scores(np.exp(utilities - utilities.max(axis=1, keepdims=True)))
        values = values.mean(axis=0)
    return dict(zip(world.key.models, map(float, values), strict=True))


def build_world(
    study: Path,
    worths: Mapping[str, float],
    *,
    key: Path | None = None,
    rater_spread: float = 0.0,
    item_spread: float = 0.0,
    seed: int = 0,
) -> tuple[bots.World, Design]:
    """Return what bots of a study know.

    Raises:
        AubenchError: The worths do not fit the models, or the key is not the study's.
    """
    design, _ = read_design(study)
    opened = unseal(study, design, key)
    bots.check_worths(worths, opened.models)
    names = bots.look_at(study, design)
    trials = {name: trial.images for name, trial in design.by_id.items()}
    return bots.World(opened, worths, names, trials, rater_spread, item_spread, seed), design


def simulate(
    study: Path, world: bots.World, raters: int | None, url: str | None, database: str | None
) -> list[bots.Bot]:
    """Send bots to the links of a study; serves it meanwhile unless ``url`` is given.

    The study is marked as simulated, and so are its results.
    """
    links = bots.read_links(study)
    count = raters or len(read_design(study)[0].places)
    if count > len(links):
        raise AubenchError(f"{count} raters and {len(links)} links", "ask for fewer --raters")
    app = application(study, database, rate=1e6, burst=1e6)
    answers.open_store(study, database).note("simulated")
    if url is not None:
        return asyncio.run(bots.run_bots(url, links[:count], world))
    with running(app) as own:
        return asyncio.run(bots.run_bots(own, links[:count], world))


def coverage(study: Path, world: bots.World, studies: int, draws: int = 1000) -> Coverage:
    """Repeat a study with fresh bots and an empty data base each time, and count hits.

    Every answer goes over HTTP; images are known by their served ids and not fetched.
    """
    design, digest = read_design(study)
    secrets, links = read(study / SECRETS, Secrets), bots.read_links(study)
    expected, found = truth(world), []
    with bar(studies, "studies", "study") as progress:
        for number in range(studies):
            fresh = replace(world, seed=world.seed + 1 + number)
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "answers.sqlite"
                app = application(study, sqlite_url(place), rate=1e6, burst=1e6)
                with running(app) as url:
                    asyncio.run(
                        bots.run_bots(
                            url,
                            links[: len(design.places)],
                            fresh,
                            server_secret=secrets.image_secret,
                        )
                    )
                store = Store(open_engine(sqlite_url(place)))
                found.append(_analyse(store, design, fresh.key, digest, draws, number))
                store.engine.dispose()
            progress.update(1)
    return _count(found, world, expected)


def _analyse(
    store: Store, design: Design, key: Key, digest: str, draws: int, seed: int
) -> StudyResults:
    frame = answers.long_frame(store, design, key)
    done, counts = answers.finished(store)
    # Bots are faster than people; every other rule stands.
    rules = design.rules.model_copy(update={"min_seconds": 0.0})
    answered = Answered(design, digest, key, frame, done, counts, simulated=True)
    return analyse(answered, rules, Bootstrap(draws, seed))


def _count(found: list[StudyResults], world: bots.World, expected: dict[str, float]) -> Coverage:
    models = world.key.models
    total = sum(world.worths.values())
    right = sorted(models, key=lambda name: -expected[name])
    hits: dict[str, list[bool]] = {name: [] for name in models}
    worth_hits: dict[str, list[bool]] = {name: [] for name in models}
    cells: list[bool] = []
    orders, widths = [], []
    for results in found:
        for cell in results.cells:
            hit = cell.low <= expected[cell.model] <= cell.high
            (hits[cell.model] if cell.combination == MEAN else cells).append(hit)
            if cell.combination == MEAN:
                widths.append(cell.high - cell.low)
        for worth in results.worths:
            share = world.worths[worth.model] / total
            worth_hits[worth.model].append(worth.low <= share <= worth.high)
        seen = sorted(models, key=lambda name: -results.cell(name, MEAN).auchs)
        orders.append(seen == right)
    effects = world.rater_spread or world.item_spread
    return Coverage(
        len(found),
        expected,
        {name: float(np.mean(values)) for name, values in hits.items()},
        float(np.mean(cells)),
        None if effects else {n: float(np.mean(values)) for n, values in worth_hits.items()},
        float(np.mean(orders)),
        float(np.mean(widths)),
    )

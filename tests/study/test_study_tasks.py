"""Pairs, Likert sentences and AU intensities, from design to analysis, by bots over HTTP."""

import asyncio
import csv
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from aubench.study.analysis import answers
from aubench.study.analysis.exports import export
from aubench.study.analysis.results import MEAN
from aubench.study.analysis.scoring import Bootstrap, score
from aubench.study.design.creation import create
from aubench.study.design.files import KEY, SECRETS, Key, Secrets, read, read_design
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.simulation import bots

WORTHS = {"alpha-net": 20.0, "beta-net": 1.0, "gamma-net": 0.05}


@pytest.fixture(scope="module")
def finished(order, runs, _recruiting, tmp_path_factory):
    """Return a function that gives a study of a task whose bots are done, and its analysis."""
    made = {}

    def of(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task) / "study"
            if task == "likert":
                import shutil

                shutil.copytree(_recruiting.folder, folder)
            else:
                changed = {
                    "pairs": {"shown": 2, "gold": 1},
                    "intensity": {"per_combination": 1, "raters": 2, "spare": 0, "gold": 1},
                }[task]
                small = order([runs], task=task, duplicates=1, **changed)
                create(small, folder)
            made[task] = folder, *_run(folder)
        return made[task]

    return of


def _run(folder):
    design, _ = read_design(folder)
    key = read(folder / KEY, Key)
    trials = {name: trial.images for name, trial in design.by_id.items()}
    world = bots.World(key, WORTHS, bots.look_at(folder, design), trials)
    secret = read(folder / SECRETS, Secrets).image_secret
    links = bots.read_links(folder)[: len(design.places)]
    with running(application(folder, rate=1e6, burst=1e6)) as url:
        asyncio.run(bots.run_bots(url, links, world, server_secret=secret))
    answers.open_store(folder).close()
    return design, key, score(folder, bootstrap=Bootstrap(200))


def test_each_place_sees_its_share_of_pairs_and_all_pairs_equally_often(finished):
    _, design, key, _ = finished("pairs")
    seen = Counter()
    for place in design.places:
        of_item = Counter()
        for step in place:
            entry = key.trials[step.trial]
            images = design.by_id[step.trial].images
            assert len(images) == 2
            if entry.kind == "main":
                of_item[entry.sample] += 1
                models = tuple(sorted(key.images[name].source for name in images))
                first = key.images[images[step.order[0]]].source
                seen[entry.sample, models, first] += 1
            if entry.kind == "duplicate":  # repeats a pair that this place saw
                assert any(other.trial == entry.repeats for other in place)
        assert set(of_item.values()) == {2} and len(of_item) == 12
    # 6 places see 2 of 3 pairs: each pair 4 times, each model on the left in half of them.
    assert set(seen.values()) == {2} and len(seen) == 12 * 3 * 2


def test_pairs_find_the_better_model_and_its_worth(finished):
    _, _, _, found = finished("pairs")
    results = found.results
    assert results.task == "pairs" and results.high == 3.0
    order = sorted(WORTHS, key=lambda name: -results.cell(name, MEAN).auchs)
    assert order == list(WORTHS)
    assert sum(results.cell(name, MEAN).auchs for name in WORTHS) == pytest.approx(6.0, abs=0.25)
    worths = {worth.model: worth.worth for worth in results.worths}
    assert sum(worths.values()) == pytest.approx(1.0) and worths["alpha-net"] > 0.8
    best = next(c for c in results.comparisons if c.second == "gamma-net" and "alpha" in c.first)
    assert best.low > 0 and best.p_holm < 0.05
    assert results.agreement[0].kendall_w is None and results.raters.excluded == 0


def test_sentences_are_rated_and_gold_and_repetitions_still_tell(finished):
    _, design, _, found = finished("likert")
    results = found.results
    assert results.scale.startswith("mean rating") and (results.low, results.high) == (1.0, 5.0)
    assert len(design.places[0]) < len(design.trials)  # a rater sees one model of each sample
    order = sorted(WORTHS, key=lambda name: -results.cell(name, MEAN).auchs)
    assert order == list(WORTHS)
    natural = results.questions["12+15 natural"]
    assert set(natural) == set(WORTHS)
    struck = {rule.rule: rule.raters for rule in results.exclusions}
    assert struck["right face first in less than 50% of the gold trials"] == ()
    assert results.self_tau is not None and -1 <= results.self_tau <= 1
    assert results.friedman is None and results.worths == ()
    told = [form for form in found.forms.values() if form]  # who was screened out told nothing
    assert told and all(form["age"] == 30 for form in told)


def test_intensities_are_scored_by_what_was_asked_for(finished):
    _, design, key, found = finished("intensity")
    assert design.questions("12+15") == {
        "au12": "AU12 lip corner puller",
        "au15": "AU15 lip corner depressor",
    }
    main = found.frame[found.frame["kind"] == "main"]
    row = main.iloc[0]
    wanted = key.trials[row["trial"]].wanted
    given = json.loads(row["ratings"])
    assert set(wanted) == set(given) and all(0 < value <= 5 for value in wanted.values())
    off = np.mean([abs(given[name] - wanted[name]) for name in given])
    assert row["score"] == pytest.approx(5 - off)
    assert found.results.scale.startswith("nearness")
    assert all(0 <= cell.auchs <= 5 for cell in found.results.cells)


@pytest.mark.parametrize("task", ["pairs", "likert", "intensity"])
def test_exports_hold_every_answer_in_json_and_in_the_way_of_bids(finished, tmp_path, task):
    _, _, _, found = finished(task)
    paths = export.write(found.results, found.frame, tmp_path, found.forms)
    assert all(path.is_file() for path in paths)
    rows = json.loads((tmp_path / "answers.json").read_text())
    assert len(rows) == len(found.frame)
    assert (rows[0]["ratings"] is None) == (task == "pairs")
    root = tmp_path / "bids"
    about = json.loads((root / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion"} <= set(about)
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    tables = sorted(root.glob("sub-*/beh/*.tsv"))
    assert len(people) == len(tables) == found.frame["rater"].nunique()
    described = json.loads((root / f"task-{task}_beh.json").read_text())
    with tables[0].open(newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    assert list(lines[0])[:2] == ["onset", "duration"] and set(lines[0]) == set(described)
    first = min(int(rater) for rater in found.frame["rater"])  # who did not begin has no table
    assert tables[0].name == f"sub-{first:03d}_task-{task}_beh.tsv"
    assert float(lines[0]["onset"]) == 0
    lines = [table.read_text().splitlines()[1:] for table in tables]
    assert sum(map(len, lines)) == len(found.frame)
    if task == "likert":
        assert set(people["age"]) == {30.0} and "gender" in people

"""The whole way on the command line, with bots in place of people."""

import asyncio
import csv
import json

import numpy as np
import pandas as pd
import pytest

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.study.analysis import answers
from aubench.study.analysis.results import MEAN, read_results
from aubench.study.analysis.scoring import Bootstrap, score
from aubench.study.design.files import KEY, Key, read, read_design
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.simulation import bots
from aubench.study.simulation import simulate as simulation

WORTHS = {"alpha-net": 30.0, "beta-net": 5.0, "gamma-net": 1.0}
WORDS = [word for name, worth in WORTHS.items() for word in ("--worth", f"{name}={worth}")]


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["study", *map(str, words)])
    return ended.value.code


def test_a_rule_that_will_exclude_every_bot_is_told_in_time(runs, tmp_path, capsys):
    words = ("--models", ",".join(WORTHS), "--runs", runs, "--per-combination", 2, "--seed", 5)
    assert run("create", *words, "--raters", 1, "--out", tmp_path / "s") == 0
    assert run("simulate", tmp_path / "s", *WORDS) == 0
    assert "under 3 s will exclude bots" in capsys.readouterr().err


def test_create_simulate_close_score_report(runs, tmp_path, capsys):
    path = tmp_path / "s"
    create = [
        "create",
        "--models",
        ",".join(WORTHS),
        "--runs",
        runs,
        "--per-combination",
        2,
        "--raters",
        6,
        "--gold",
        2,
        "--duplicates",
        2,
        "--seed",
        5,
        "--min-seconds",
        0,
        "--out",
        path,
    ]
    assert run(*create) == 0
    assert "16 trials of 3 faces, 6 places" in capsys.readouterr().out
    assert run("score", path) == 2
    assert "no answers yet" in capsys.readouterr().err
    assert run("simulate", path, *WORDS) == 0
    told = capsys.readouterr()
    assert "6 bots, 96 rankings stored" in told.out and "warning" not in told.err
    assert run("score", path) == 2
    assert "its key stays sealed" in capsys.readouterr().err
    assert not (path / "unsealed.log").exists()
    assert run("close", path) == 0
    assert run("score", path, "--draws", 400) == 0
    text = capsys.readouterr().out
    assert "simulated raters, not people" in text and "Mean AUCHS" in text

    design, digest = read_design(path)
    results = read_results(path / "analysis" / "auchs.json")
    assert results.simulated and results.study_sha256 == digest
    assert results.combinations == design.combinations
    assert results.raters.analysed == results.raters.finished == 6
    order = sorted(WORTHS, key=lambda name: -results.cell(name, MEAN).auchs)
    assert order == list(WORTHS)
    key = read(path / KEY, Key)
    truth = simulation.truth(bots.World(key, WORTHS, {}, {}))
    for model in WORTHS:
        cell = results.cell(model, MEAN)
        assert abs(cell.auchs - truth[model]) < 0.3
        rows = [results.cell(model, name).auchs for name in results.combinations]
        assert np.mean(rows) == pytest.approx(cell.auchs)
        assert cell.items == 12 and results.cell(model, "1+4").items == 2
    for name in (*results.combinations, MEAN):
        assert sum(results.cell(model, name).auchs for model in WORTHS) == pytest.approx(6.0)

    folder = path / "analysis"
    frame = pd.read_parquet(folder / "answers.parquet")
    table = pd.read_csv(folder / "answers.csv", dtype={"rater": str})
    pd.testing.assert_frame_equal(frame, table, check_dtype=False)
    assert len(frame) == 6 * 16 * 3 and not frame["excluded"].any()
    main_rows = frame[frame["kind"] == "main"]
    means = main_rows.groupby("model")["auchs"].mean()
    for model in WORTHS:
        assert means[model] == pytest.approx(results.cell(model, MEAN).auchs)
    book = (folder / "codebook.md").read_text()
    assert all(f"| {column}" in book for column in frame.columns)
    with (folder / "raters.csv").open() as stream:
        people = list(csv.DictReader(stream))
    assert len(people) == 6 and all(row["answered"] == "16" for row in people)
    log = [json.loads(line) for line in (path / "unsealed.log").read_text().splitlines()]
    assert len(log) == 1 and log[0]["key sha256"] == design.key_sha256


def test_the_key_may_be_elsewhere(study, tmp_path):
    elsewhere = tmp_path / "safe.json"
    (study.path / KEY).rename(elsewhere)
    with running(application(study.path, rate=1e6, burst=1e6)) as url:
        world = bots.World(
            study.key,
            WORTHS,
            bots.look_at(study.path, study.design),
            {name: trial.images for name, trial in study.design.by_id.items()},
        )
        asyncio.run(bots.run_bots(url, [study.link(i) for i in range(2)], world))
    answers.open_store(study.path).close()
    with pytest.raises(AubenchError, match="cannot read"):
        score(study.path)
    results = score(study.path, key=elsewhere, bootstrap=Bootstrap(200)).results
    assert results.raters.analysed == 2 and not results.simulated


def test_raters_who_fail_are_excluded_and_the_effect_is_told(study):
    """Two bots who know, one who ranks at random and misses the gold, one who leaves."""
    names = bots.look_at(study.path, study.design)
    trials = {name: trial.images for name, trial in study.design.by_id.items()}
    knowing = bots.World(study.key, WORTHS, names, trials)

    class Blind(bots.World):
        def utility(self, rater, name):
            source = self.key.images[name].source
            return {"target": 0.0, "wrong": 50.0, "alpha-net": -50.0}.get(source, 0.0)

    blind = Blind(study.key, WORTHS, names, trials)

    async def take_part(url):
        async with bots.httpx.AsyncClient(base_url=url, timeout=60) as client:
            crowd = [
                bots.Bot(client, study.link(i), i + 1, world)
                for i, world in enumerate((knowing, knowing, blind, knowing))
            ]
            for bot in crowd[:3]:
                assert await bot.take_part() == "done"
            assert await crowd[3].take_part(most=5) == "trial"

    with running(application(study.path, rate=1e6, burst=1e6)) as url:
        asyncio.run(take_part(url))
    answers.open_store(study.path).close()
    results = score(study.path, bootstrap=Bootstrap(200)).results
    struck = {rule.rule: rule.raters for rule in results.exclusions}
    assert struck["did not finish"] == ("4",)
    assert struck["right face first in less than 50% of the gold trials"] == ("3",)
    assert results.raters.analysed == 2 and results.raters.excluded == 2
    kept = results.cell("alpha-net", MEAN).auchs
    assert kept > 2.3 and results.without_exclusion["alpha-net"] == pytest.approx(
        (2 * kept + 1.0) / 3
    )  # the blind one put it last every time


def test_a_damaged_answer_is_found(study):
    with running(application(study.path, rate=1e6, burst=1e6)) as url:
        trials = {name: trial.images for name, trial in study.design.by_id.items()}
        world = bots.World(study.key, WORTHS, bots.look_at(study.path, study.design), trials)
        asyncio.run(bots.run_bots(url, [study.link(0)], world, most=2))
    opened = answers.open_store(study.path)
    with opened.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE answers SET ranking = '[[\"x\"]]' WHERE position = 1")
    opened.close()
    with pytest.raises(AubenchError, match=r"answer of rater 1 to t0.. is damaged"):
        score(study.path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--worth", "alpha-net=1"], "no worth for 'beta-net'"),
        ([*WORDS, "--worth", "alfa-net=2"], "did you mean 'alpha-net'"),
        ([*WORDS[:-1], "gamma-net=0"], "a worth is above 0"),
        (["--worth", "alpha-net"], "--worth MODEL=VALUE"),
        ([*WORDS, "--raters", "9"], "9 raters and 8 links"),
    ],
)
def test_worths_that_do_not_fit(study, capsys, words, message):
    assert run("simulate", study.path, *words) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_coverage_counts_hits_of_repeated_studies(study, capsys):
    assert run("simulate", study.path, *WORDS, "--repeat", 2) == 0
    text = capsys.readouterr().out
    assert "2 simulated studies" in text and "right order of all models: 1.000" in text
    assert not (study.path / "study.sqlite").exists()  # the study itself is not touched

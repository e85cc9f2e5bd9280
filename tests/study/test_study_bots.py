"""Bots: what they prefer, what they do where a server fails them, and the links they take."""

import asyncio
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from scipy import stats

from aubench.cli.main import main
from aubench.errors import AubenchError
from aubench.study.analysis import answers
from aubench.study.analysis.scoring import Bootstrap, score
from aubench.study.design.files import LINKS
from aubench.study.server.local import running
from aubench.study.server.server import application
from aubench.study.simulation import bots
from aubench.study.simulation import simulate as simulation

WORTHS = {"a": 8.0, "b": 2.0, "c": 1.0}
IMAGES = {
    **{f"{m}{i}": SimpleNamespace(source=m, sample=f"s{i}") for m in WORTHS for i in range(400)},
    "best": SimpleNamespace(source="target", sample="s0"),
    "none": SimpleNamespace(source="wrong", sample="s0"),
}
KEY = SimpleNamespace(models=tuple(WORTHS), images=IMAGES)


def world(**more):
    return bots.World(KEY, WORTHS, {}, {}, **more)


def test_without_spread_a_worth_is_a_worth():
    for name, worth in WORTHS.items():
        assert world().utility(3, f"{name}7") == pytest.approx(np.log(worth))
    assert world().utility(1, "best") - world().utility(1, "none") == 50
    # Plackett-Luce: a model beats another by its share of their worths; k + 1 - rank adds up.
    expected = {"a": 1 + 8 / 10 + 8 / 9, "b": 1 + 2 / 10 + 2 / 3, "c": 1 + 1 / 9 + 1 / 3}
    assert simulation.truth(world()) == pytest.approx(expected)


def test_tastes_are_of_raters_and_of_items_and_stay_the_same():
    one = world(rater_spread=0.7, seed=5)
    assert one.utility(2, "a1") == one.utility(2, "a9")  # a rater's taste is of the model
    assert one.utility(2, "a1") != one.utility(3, "a1")
    other = world(item_spread=0.7, seed=5)
    assert other.utility(2, "a1") == other.utility(3, "a1")  # an item's is every rater's
    assert other.utility(2, "a1") != other.utility(2, "a2")
    assert other.utility(2, "a1") != world(item_spread=0.7, seed=6).utility(2, "a1")
    assert one.utility(2, "best") == 50
    for values in (
        [one.utility(i, "a0") for i in range(400)],
        [other.utility(0, f"a{i}") for i in range(400)],
    ):
        off = (np.array(values) - np.log(8)) / 0.7
        assert stats.kstest(off, "norm").pvalue > 1e-3


def test_expected_scores_under_random_effects_are_those_of_bots():
    """Counted from utilities and Gumbel noise, item by item, as bots rank."""
    spread = world(rater_spread=0.9, item_spread=1.2, seed=3)
    expected = simulation.truth(spread)
    noise = np.random.default_rng(0)
    u = np.array([[spread.utility(i, f"{m}{i}") for m in WORTHS] for i in range(400)])
    drawn = u[:, None] + noise.gumbel(size=(400, 50, 3))
    points = 1 + (drawn[..., None] > drawn[..., None, :]).sum(-1)
    error = points.mean(1).std(0) / np.sqrt(400)
    off = (points.mean((0, 1)) - list(expected.values())) / error
    assert np.abs(off).max() < 4
    assert sum(expected.values()) == pytest.approx(6)
    plain = simulation.truth(world())
    assert plain["a"] > expected["a"] > expected["c"] > plain["c"]  # tastes blur the order
    same = simulation.truth(world(rater_spread=1.5, seed=3))
    assert same == pytest.approx(expected)  # sqrt(0.9² + 1.2²) = 1.5


def asked(answer):
    """Ask once as a bot does; ``answer`` handles the request, or raises. Returns bot, response."""

    async def ask():
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://study", transport=transport) as client:
            bot = bots.Bot(client, "/s/x/", 4, world())
            return bot, await bot._ask("state")

    return asyncio.run(ask())


def test_a_bot_waits_where_it_is_told_to_and_asks_again_where_a_line_breaks(monkeypatch):
    waited, calls = [], []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(bots.asyncio, "sleep", sleep)

    def answer(request):
        calls.append(request.url.path)
        if len(calls) == 1:
            raise httpx.ConnectError("down", request=request)
        if len(calls) == 2:
            return httpx.Response(429, headers={"Retry-After": "7"})
        return httpx.Response(200, json={"phase": "done"})

    bot, response = asked(answer)
    assert response.json() == {"phase": "done"} and calls == ["/s/x/state"] * 3
    assert waited == [0.1, 7.0] and bot.retries == 1
    monkeypatch.setattr(bots, "PATIENCE", 5)
    with pytest.raises(AubenchError, match="rater 4 got no answer from http://study"):
        asked(lambda request: httpx.Response(429))
    assert waited[2:] == [1.0] * 5  # where nothing is said, a second


def test_a_bot_that_is_refused_says_who_and_why():
    def answer(request):
        if request.url.path.endswith("rank"):
            return httpx.Response(409, text="another trial is open")
        return httpx.Response(200, json={"phase": "trial", "trial": "t1", "images": []})

    async def take_part():
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://study", transport=transport) as client:
            await bots.Bot(client, "/s/x/", 2, world()).take_part()

    with pytest.raises(AubenchError, match="rater 2 was refused: another trial is open"):
        asyncio.run(take_part())


def test_a_study_that_is_served_elsewhere_is_marked_as_simulated(study, capsys):
    words = [f"--worth={name}={i + 1}" for i, name in enumerate(study.key.models)]
    with (
        running(application(study.path, rate=1e6, burst=1e6)) as url,
        pytest.raises(SystemExit) as ended,
    ):
        main(["study", "simulate", str(study.path), *words, "--raters", "2", "--url", url])
    assert ended.value.code == 0
    assert f"2 bots, {2 * len(study.design.trials)} rankings stored" in capsys.readouterr().out
    answers.open_store(study.path).close()
    results = score(study.path, bootstrap=Bootstrap(50)).results
    assert results.simulated and results.raters.analysed == 2


def test_a_study_without_links_is_one_line_with_a_remedy(study):
    assert len(bots.read_links(study.path)) == len(study.links)
    lines = (study.path / LINKS).read_text().splitlines()
    for text in ("", "name,link\nrater 1,/s/x/\n", "\n".join([*lines[:-1], "rater"])):
        (study.path / LINKS).write_text(text)
        with pytest.raises(AubenchError, match=r"links\.csv is no list of links; restore it"):
            bots.read_links(study.path)
    (study.path / LINKS).unlink()
    with pytest.raises(AubenchError, match=r"cannot read .*links\.csv: No such file") as caught:
        bots.read_links(study.path)
    assert caught.value.hint == "`aubench study create` writes it"

"""A server that is killed outright, again and again, while raters are at work."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import httpx
import pytest

from aubench.cli.main import main
from aubench.study.design.files import DATABASE
from aubench.study.server.store import ANSWERS, Store, open_engine, sqlite_url
from aubench.study.simulation import bots

SERVE = "import sys; from aubench.cli.main import main; main(['study', 'serve', *sys.argv[1:]])"
KILLS = 2


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(path, port):
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(path), "--port", str(port)])
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                assert answer.read() == b"ok"
                return process
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def stored(study):
    return Store(open_engine(sqlite_url(study.path / DATABASE))).rows(ANSWERS)


@pytest.mark.slow
def test_every_acknowledged_ranking_survives_kill_9_and_none_is_twice(study):
    port = free_port()
    worths = dict.fromkeys(study.key.models, 1.0)
    trials = {name: trial.images for name, trial in study.design.by_id.items()}
    world = bots.World(study.key, worths, bots.look_at(study.path, study.design), trials)
    process = start(study.path, port)
    kills = []

    async def run():
        nonlocal process
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            crowd = [
                bots.Bot(client, study.link(i), i + 1, world, study.secrets.image_secret)
                for i in range(6)
            ]
            work = asyncio.gather(*(bot.take_part() for bot in crowd))
            while not work.done() and len(kills) < KILLS:
                wanted = 12 * (len(kills) + 1)  # of 48, so that each kill strikes at work
                if sum(len(bot.acknowledged) for bot in crowd) >= wanted:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills.append({k: v for bot in crowd for k, v in bot.acknowledged.items()})
                    assert len(stored(study)) >= len(kills[-1])
                    process = await asyncio.to_thread(start, study.path, port)
                await asyncio.sleep(0.002)
            return crowd, await work

    try:
        crowd, phases = asyncio.run(run())
    finally:
        process.kill()
        process.wait()
    assert phases == ["done"] * 6 and len(kills) == KILLS
    rows = stored(study)
    assert Counter((row["rater"], row["trial"]) for row in rows).most_common(1)[0][1] == 1
    assert len(rows) == 6 * 8
    kept = {}
    for row in rows:
        served = {
            bots.opaque(
                study.secrets.image_secret, "image", str(row["rater"]), row["trial"], name
            ): name
            for name in study.design.by_id[row["trial"]].images
        }
        trial = bots.opaque(study.secrets.image_secret, "trial", str(row["rater"]), row["trial"])
        names = {name: image for image, name in served.items()}
        kept[row["rater"], trial] = [names[group[0]] for group in json.loads(row["ranking"])]
    for bot in crowd:
        assert len(bot.acknowledged) == 8
        for trial, ranking in bot.acknowledged.items():
            assert kept[bot.number, trial] == ranking
    assert sum(bot.retries for bot in crowd) > 0


def test_an_address_in_use_and_a_folder_that_is_no_study_are_one_line(study, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["study", "serve", str(study.path), "--port", str(port)])
    assert ended.value.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["study", "serve", str(tmp_path / "nothing")])
    assert ended.value.code == 2 and "study.json: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["study", "serve", str(study.path), "--database", "nonsense://x"])
    assert ended.value.code == 2 and "cannot open data base" in capsys.readouterr().err


def test_links_are_printed_whole(study, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["study", "links", str(study.path), "--url", "https://faces.example.org/"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.split()
    assert lines == [f"https://faces.example.org/s/{token}/" for token in study.links]

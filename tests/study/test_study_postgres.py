"""A real PostgreSQL: two server processes on one study, 200 bots, kills."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import httpx
import pytest

from aubench.study.design.creation import create
from aubench.study.design.files import KEY, SECRETS, Key, Secrets, read, read_design, text_of
from aubench.study.design.sealing import opaque
from aubench.study.server.erasure import forget
from aubench.study.server.store import ANSWERS, PLACES, RATERS, Store, open_engine
from aubench.study.simulation import bots

pytestmark = pytest.mark.slow

SERVE = "import sys; from aubench.cli.main import main; main(['study', 'serve', *sys.argv[1:]])"
BOTS, TRIALS = 200, 2


def binaries():
    """Return the folder of PostgreSQL; without one these tests fail, they are not skipped."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.fail("no PostgreSQL: install it (Debian: apt-get install postgresql), as .ci/run does")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def database():
    """The URL of a server of one's own, which root may not run: then the user postgres does."""
    folder, port = binaries(), free_port()
    root = Path(tempfile.mkdtemp(prefix="aubench-postgres-"))
    who = {}
    if os.geteuid() == 0:
        person = pwd.getpwnam("postgres")
        os.chown(root, person.pw_uid, person.pw_gid)
        who = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}
    data, log = root / "data", root / "log"
    quiet = {"cwd": root, "stdout": subprocess.DEVNULL, **who}
    initdb = [
        folder / "initdb",
        "-D",
        data,
        "-U",
        "study",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run([*initdb, "--locale=C"], check=True, **quiet)
    words = ["-D", data, "-p", str(port), "-k", root, "-h", "127.0.0.1"]
    with log.open("wb") as stream:
        server = subprocess.Popen([folder / "postgres", *words], stderr=stream, **quiet)
    try:
        url = f"postgresql+psycopg://study@127.0.0.1:{port}/postgres"
        engine = open_engine(url)
        for _ in range(600):
            try:
                with engine.connect():
                    break
            except Exception:
                assert server.poll() is None, log.read_text()
                time.sleep(0.05)
        engine.dispose()
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def large(order, runs, tmp_path_factory):
    """A study of as many places as bots, cut to a few trials."""
    made = create(
        order([runs], per_combination=1, raters=BOTS, spare=0, gold=0, duplicates=0),
        tmp_path_factory.mktemp("large") / "study",
    )
    design, _ = read_design(made.folder)
    kept = {trial.id for trial in design.trials[:TRIALS]}
    places = tuple(tuple(s for s in place if s.trial in kept) for place in design.places)
    design = design.model_copy(update={"trials": design.trials[:TRIALS], "places": places})
    (made.folder / "study.json").write_text(text_of(design))
    return made.folder, design


def start(study, database, port):
    words = [str(study), "--port", str(port), "--database", database]
    return subprocess.Popen([sys.executable, "-c", SERVE, *words])


def wait_for(process, port):
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return answer.read() == b"ok"
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def test_two_servers_on_one_postgresql_keep_every_answer_through_kills(
    large, database, monkeypatch
):
    study, design = large
    monkeypatch.setattr(bots, "PATIENCE", 3000)
    ports = [free_port(), free_port()]
    key, secret = read(study / KEY, Key), read(study / SECRETS, Secrets).image_secret
    trials = {name: trial.images for name, trial in design.by_id.items()}
    world = bots.World(key, dict.fromkeys(key.models, 1.0), bots.look_at(study, design), trials)
    servers = [start(study, database, port) for port in ports]  # both at once on empty tables

    async def run():
        clients = [
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                timeout=60,
                limits=httpx.Limits(max_connections=24),
            )
            for port in ports
        ]
        crowd = [
            bots.Bot(clients[i % 2], link, i, world, secret)
            for i, link in enumerate(bots.read_links(study)[:BOTS], 1)
        ]
        work = asyncio.gather(*(bot.take_part() for bot in crowd))
        for kill in range(2):
            wanted = BOTS * TRIALS * (kill + 1) / 3
            while sum(len(bot.acknowledged) for bot in crowd) < wanted:
                assert not work.done()
                await asyncio.sleep(0.005)
            servers[kill].send_signal(signal.SIGKILL)
            servers[kill].wait()
            servers[kill] = start(study, database, ports[kill])
            await asyncio.to_thread(wait_for, servers[kill], ports[kill])
        phases = await work
        for client in clients:
            await client.aclose()
        return crowd, phases

    try:
        for server, port in zip(servers, ports, strict=True):
            assert wait_for(server, port)
        crowd, phases = asyncio.run(run())
    finally:
        for server in servers:
            server.kill()
            server.wait()
    assert Counter(phases) == {"done": BOTS}
    store = Store(open_engine(database))
    rows = store.rows(ANSWERS)
    assert len(rows) == BOTS * TRIALS
    assert len({(row["rater"], row["trial"]) for row in rows}) == len(rows)
    kept = {}
    for row in rows:
        rater, trial = str(row["rater"]), row["trial"]
        served = {name: opaque(secret, "image", rater, trial, name) for name in trials[trial]}
        ranking = [served[group[0]] for group in json.loads(row["ranking"])]
        kept[row["rater"], opaque(secret, "trial", rater, trial)] = ranking
    ids = _numbers(store, study)
    for bot in crowd:
        assert ids[bot.link] == bot.number  # links were entered in order, by one of the servers
        for trial, ranking in bot.acknowledged.items():
            assert kept[bot.number, trial] == ranking
    places = store.rows(PLACES)
    assert all(place["done"] for place in places)
    assert len({place["rater"] for place in places}) == BOTS
    assert sum(bot.retries for bot in crowd) > 0
    forget(study, store, 1)
    assert {row["rater"] for row in store.rows(ANSWERS)} == set(range(2, BOTS + 1))
    store.shut()


def _numbers(store, study):
    from aubench.study.design.sealing import token_digest

    of = {row["token_sha256"]: row["id"] for row in store.rows(RATERS)}
    return {
        link: of[token_digest(link.strip("/").split("/")[-1])] for link in bots.read_links(study)
    }

"""200 bots at once on loopback, the server killed five times: is every answer kept, once?

Run by hand: ``python tests/benchmarks/study_load.py STUDY [BOTS] [KILLS]``, with a study of at
least so many links and places.
"""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import httpx

from aubench.study.design.files import DATABASE, SECRETS, Secrets, read
from aubench.study.design.sealing import opaque
from aubench.study.server.store import ANSWERS, Store, open_engine, sqlite_url
from aubench.study.simulation import bots
from aubench.study.simulation import simulate as simulation

SERVE = "import sys; from aubench.cli.main import main; main(['study', 'serve', *sys.argv[1:]])"


def start(study: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start a server and wait until it answers."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(study), "--port", str(port)])
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return process
        except OSError:
            assert process.poll() is None, "the server did not start"
            time.sleep(0.05)


def stored(study: Path) -> list[dict[str, object]]:
    """Return all answers."""
    return Store(open_engine(sqlite_url(study / DATABASE))).rows(ANSWERS)


async def work(study: Path, count: int, kills: int) -> None:
    """Run bots and kills, then compare what was acknowledged with what is stored."""
    from aubench.study.design.files import Key

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    secret = read(study / SECRETS, Secrets).image_secret
    models = read(study / "key.sealed.json", Key).models
    world, design = simulation.build_world(study, dict.fromkeys(models, 1.0))
    process, total, begun = start(study, port), count * len(design.trials), time.monotonic()
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    down, lost = 0.0, 0
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits
    ) as client:
        links = bots.read_links(study)[:count]
        crowd = [bots.Bot(client, link, i, world, secret) for i, link in enumerate(links, 1)]
        tasks = asyncio.gather(*(bot.take_part() for bot in crowd))
        for kill in range(kills):
            while sum(len(bot.acknowledged) for bot in crowd) < total * (kill + 1) / (kills + 1):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            moment = time.monotonic()
            lost += sum(len(bot.acknowledged) for bot in crowd) > len(stored(study))
            process = await asyncio.to_thread(start, study, port)
            down += time.monotonic() - moment
        phases = Counter(await tasks)
    seconds = time.monotonic() - begun
    process.kill()
    rows = stored(study)
    kept = {}
    for row in rows:
        rater, trial = str(row["rater"]), str(row["trial"])
        names = {name: opaque(secret, "image", rater, trial, name) for name in world.trials[trial]}
        ranking = [names[group[0]] for group in json.loads(str(row["ranking"]))]
        kept[row["rater"], opaque(secret, "trial", rater, trial)] = ranking
    wrong = sum(
        kept.get((bot.number, trial)) != ranking
        for bot in crowd
        for trial, ranking in bot.acknowledged.items()
    )
    twice = len(rows) - len({(row["rater"], row["trial"]) for row in rows})
    acknowledged = sum(len(bot.acknowledged) for bot in crowd)
    sys.stdout.write(
        f"{count} bots, {kills} kills: {phases}; {acknowledged} rankings acknowledged, "
        f"{len(rows)} stored, {wrong} lost or changed, {twice} twice, {lost} kills with a gap; "
        f"{sum(bot.retries for bot in crowd)} requests repeated; {seconds:.0f} s, {down:.0f} of "
        f"them down, {acknowledged / (seconds - down):.0f} rankings a second while up\n"
    )


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), *map(int, sys.argv[2:] or ("200", "5"))))

"""Simulated raters with known worths, who take part over HTTP as people do."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from aubench.errors import AubenchError, suggest
from aubench.files import sha256_bytes
from aubench.study.sealing import opaque
from aubench.study.settings import IMAGES, LINKS, Design, Key

PATIENCE = 200
"""Attempts at one request before a bot gives up; a server may be down for a while."""


@dataclass(frozen=True)
class World:
    """What bots know and people do not: which model made an image, and how good it is.

    Attributes:
        worths: of each model; they need not sum to 1.
        names: opaque names by digest of the PNG file, several where models agree to the pixel.
        trials: opaque names of the images of each trial, the practice trial included.
        rater_spread, item_spread: standard deviation of random effects on the log worths.
    """

    key: Key
    worths: Mapping[str, float]
    names: Mapping[str, tuple[str, ...]]
    trials: Mapping[str, tuple[str, ...]]
    rater_spread: float = 0.0
    item_spread: float = 0.0
    seed: int = 0

    def utility(self, rater: int, name: str) -> float:
        """Return the log worth of an image to a rater, random effects included."""
        image = self.key.images[name]
        if image.source in ("target", "wrong"):
            return 50.0 if image.source == "target" else 0.0
        value = float(np.log(self.worths[image.source]))
        for spread, who in (
            (self.rater_spread, f"rater {rater} {image.source}"),
            (self.item_spread, f"item {image.sample} {image.source}"),
        ):
            if spread:
                value += spread * _normal(self.seed, who)
        return value


def _normal(seed: int, who: str) -> float:
    """Return a normal deviate that depends on seed and name alone."""
    digest = sha256_bytes(f"{seed} {who}".encode())
    return float(np.random.default_rng(int(digest[:16], 16)).standard_normal())


def look_at(study: Path, design: Design) -> dict[str, tuple[str, ...]]:
    """Return the opaque names behind each distinct image file of a study."""
    found: dict[str, list[str]] = {}
    for name in sorted({n for t in (*design.trials, design.practice) for n in t.images}):
        digest = sha256_bytes((study / IMAGES / f"{name}.png").read_bytes())
        found.setdefault(digest, []).append(name)
    return {digest: tuple(names) for digest, names in found.items()}


def check_worths(worths: Mapping[str, float], models: Sequence[str]) -> None:
    """Refuse worths that are not one positive number for each model.

    Raises:
        AubenchError: names the model.
    """
    for name, value in worths.items():
        if name not in models:
            raise AubenchError(f"no model '{name}' in the study{suggest(name, models)}")
        if not value > 0:
            raise AubenchError(f"worth {value:g} of '{name}'", "a worth is above 0")
    for name in models:
        if name not in worths:
            raise AubenchError(f"no worth for '{name}'", f"give --worth {name}=1")


def read_links(study: Path) -> list[str]:
    """Return the paths of the raters' links.

    Raises:
        AubenchError: the list is missing or damaged.
    """
    try:
        with (study / LINKS).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise AubenchError(
            f"cannot read {study / LINKS}: {error.strerror}", "`aubench study create` writes it"
        ) from error
    if not rows or not all(row.get("who") and row.get("path") for row in rows):
        raise AubenchError(f"{study / LINKS} is no list of links", "restore it")
    return [row["path"] for row in rows if row["who"].startswith("rater ")]


@dataclass
class Bot:
    """One simulated rater.

    Args:
        client: shared HTTP client; its base URL is the server's.
        link: path of the link.
        number: of the link, from 1, which is the rater's number in the data base.
        world: what it knows.
        server_secret: if given, images are known by their served ids and not fetched.

    Attributes:
        acknowledged: rankings that the server answered with 200, served ids by trial.
    """

    client: httpx.AsyncClient
    link: str
    number: int
    world: World
    server_secret: str | None = None
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    retries: int = 0

    def __post_init__(self) -> None:
        self.noise: np.random.Generator = np.random.default_rng([self.world.seed, self.number])
        self._served: dict[str, str] = {}
        if self.server_secret:
            rater = str(self.number)
            for trial, names in self.world.trials.items():
                for name in names:
                    served = opaque(self.server_secret, "image", rater, trial, name)
                    self._served[served] = name

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Ask until the server answers; a request may arrive twice, an answer counts once."""
        for _ in range(PATIENCE):
            try:
                if body is None:
                    response = await self.client.get(self.link + path)
                else:
                    response = await self.client.post(self.link + path, json=body)
            except httpx.TransportError:
                self.retries += 1
                await asyncio.sleep(0.1)
                continue
            if response.status_code == 429:
                await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
                continue
            return response
        raise AubenchError(f"rater {self.number} got no answer from {self.client.base_url}")

    async def _name(self, image: str, free: set[str]) -> str:
        if self._served:
            return self._served[image]
        data = (await self._ask(f"i/{image}")).content
        names = [name for name in self.world.names[sha256_bytes(data)] if name in free]
        free.discard(names[0])
        return names[0]

    async def _rank(self, images: Sequence[str]) -> list[str]:
        """Return images best first: log worth plus Gumbel noise sorts by Plackett-Luce."""
        free = {name for names in self.world.names.values() for name in names}
        values = []
        for image in images:
            utility = self.world.utility(self.number, await self._name(image, free))
            values.append(utility + float(self.noise.gumbel()))
        return [images[int(index)] for index in np.argsort(values)[::-1]]

    async def take_part(self, most: int | None = None) -> str:
        """Go through the study, at most so many trials, and return the phase reached."""
        state = (await self._ask("state")).json()
        if state["phase"] == "consent":
            state = (await self._ask("consent", {"sha256": state["sha256"]})).json()
        done = 0
        while state["phase"] in ("practice", "trial") and (most is None or done < most):
            ranking = await self._rank(state["images"])
            body = {"trial": state["trial"], "ranking": ranking, "active_ms": 4000}
            response = await self._ask("rank", body)
            if response.status_code != 200:
                raise AubenchError(f"rater {self.number} was refused: {response.text[:200]}")
            if state["phase"] == "trial":
                self.acknowledged[state["trial"]] = ranking
                done += 1
            state = response.json()
        return str(state["phase"])


async def run_bots(
    url: str,
    links: Sequence[str],
    world: World,
    *,
    server_secret: str | None = None,
    at_once: int = 16,
    most: int | None = None,
) -> list[Bot]:
    """Send a bot to each link and return them; ``at_once`` of them work at the same time."""
    gate = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    timeout = httpx.Timeout(60.0)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=timeout) as client:
        bots = [
            Bot(client, link, number, world, server_secret) for number, link in enumerate(links, 1)
        ]

        async def one(bot: Bot) -> None:
            async with gate:
                await bot.take_part(most)

        await asyncio.gather(*map(one, bots))
    return bots

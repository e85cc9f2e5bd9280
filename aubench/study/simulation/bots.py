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
from aubench.storage.files import sha256_bytes
from aubench.study.design.files import IMAGES, LINKS, Design, Key
from aubench.study.design.sealing import opaque

PATIENCE = 200
"""Attempts at one request before a bot gives up; a server may be down for a while."""
WRONG = 0.0
"""Utility of a face that is known to be wrong; models' noise hardly ever reaches a target's."""


@dataclass(frozen=True)
class World:
    """What bots know and people do not: which model made an image, and how good it is.

    Attributes:
        worths: Worths of each model; they need not sum to 1.
        names: Opaque names by digest of the PNG file, several where models agree to the pixel.
        trials: Opaque names of the images of each trial, the practice trial included.
        rater_spread, item_spread: Standard deviation of random effects on the log worths.
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
            return 50.0 if image.source == "target" else WRONG
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
        AubenchError: Names the model.
    """
    for name, value in worths.items():
        if name not in models:
            raise AubenchError(f"no model '{name}' in the study{suggest(name, models)}")
        if not value > 0:
            raise AubenchError(f"worth {value:g} of '{name}'", "a worth is above 0")
    for name in models:
        if name not in worths:
            raise AubenchError(f"no worth for '{name}'", f"give --worth {name}=1")


def _rows(study: Path) -> list[dict[str, str]]:
    try:
        with (study / LINKS).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise AubenchError(
            f"cannot read {study / LINKS}: {error.strerror}", "`aubench study create` writes it"
        ) from error
    if not rows or not all(row.get("who") and row.get("path") for row in rows):
        raise AubenchError(f"{study / LINKS} is no list of links", "restore it")
    return rows


def read_links(study: Path) -> list[str]:
    """Return the paths of the raters' links.

    Raises:
        AubenchError: The list is missing or damaged.
    """
    return [row["path"] for row in _rows(study) if row["who"].startswith("rater ")]


def public_link(study: Path) -> str:
    """Return the path of the link that hands out places.

    Raises:
        AubenchError: The list is missing or damaged, or the study has no such link.
    """
    for row in _rows(study):
        if row["who"] == "public":
            return row["path"]
    raise AubenchError(f"{study} has no public link", "create the study anew")


@dataclass
class Bot:
    """One simulated rater.

    Args:
        client: Shared HTTP client; its base URL is the server's.
        link: Path of the link.
        number: Number of the link, from 1, which is the rater's number in the data base.
        world: What it knows.
        server_secret: If given, images are known by their served ids and not fetched.

    Attributes:
        acknowledged: What the server answered with 200, by trial: served ids, best first, or
            ratings.
    """

    client: httpx.AsyncClient
    link: str
    number: int
    world: World
    server_secret: str | None = None
    acknowledged: dict[str, Any] = field(default_factory=dict)
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
        for attempt in range(PATIENCE):
            try:
                if body is None:
                    response = await self.client.get(self.link + path)
                else:
                    response = await self.client.post(self.link + path, json=body)
            except httpx.TransportError:
                self.retries += 1
                # A server that starts again needs the processor more than those who knock.
                await asyncio.sleep(min(0.1 * 1.5**attempt, 2.0))
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

    async def _rate(self, state: dict[str, Any]) -> dict[str, int]:
        """Return a rating for each question: a logistic curve of the utility, and noise."""
        free = {name for names in self.world.names.values() for name in names}
        name = await self._name(state["images"][0], free)
        wrong = self.world.key.images[name].source == "wrong"
        utility = self.world.utility(self.number, name)
        low, high = state["low"], state["high"]
        found = {}
        for question in state["questions"]:
            # A face that is known to be wrong shows nothing, whatever models are worth.
            value = 0.0 if wrong else 1 / (1 + np.exp(-utility - self.noise.logistic()))
            found[question["id"]] = round(low + (high - low) * float(value))
        return found

    def _form(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        words = {"number": 30, "text": "bot"}
        answers = {
            q["id"]: q["options"][self.number % len(q["options"])]
            if q["kind"] == "choice"
            else words[q["kind"]]
            for q in questions
        }
        return {"answers": answers, "width": 1280, "height": 900}

    async def _begin(self) -> dict[str, Any]:
        """Return the state before the first trial: consent is given, the form is filled in."""
        state: dict[str, Any] = (await self._ask("state")).json()
        if state["phase"] == "consent":
            state = (await self._ask("consent", {"sha256": state["sha256"]})).json()
        if state["phase"] == "form":
            state = (await self._ask("form", self._form(state["questions"]))).json()
        return state

    async def _answer(self, state: dict[str, Any]) -> httpx.Response:
        body: dict[str, Any] = {"trial": state["trial"], "active_ms": 4000}
        if "questions" in state:
            given: Any = await self._rate(state)
            response = await self._ask("rate", {**body, "ratings": given})
        else:
            given = await self._rank(state["images"])
            response = await self._ask("rank", {**body, "ranking": given})
        if response.status_code != 200:
            raise AubenchError(f"rater {self.number} was refused: {response.text[:200]}")
        if state["phase"] == "trial":
            self.acknowledged[state["trial"]] = given
        return response

    async def take_part(self, most: int | None = None) -> str:
        """Go through the study, at most so many trials, and return the phase reached."""
        state, done = await self._begin(), 0
        while state["phase"] in ("practice", "trial", "page") and (most is None or done < most):
            if state["phase"] == "page":
                state = (await self._ask("read", {"page": state["page"]})).json()
                continue
            response = await self._answer(state)
            done += state["phase"] == "trial"
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

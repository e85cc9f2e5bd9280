"""What a server puts up with: how many requests, how large, and what it tells browsers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

MAX_BODY = 16 * 1024
MAX_KEYS = 20_000

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
"""Sent with every response; links carry tokens, so nothing is cached or referred."""


class Buckets:
    """Token buckets by key: ``burst`` requests at once, ``rate`` a second in the long run."""

    rate: float
    burst: float
    clock: Callable[[], float]

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Whether one more request of this key is allowed now."""
        now = self.clock()
        with self._lock:
            if len(self._levels) > MAX_KEYS:
                self._forget(now)
            level, then = self._levels.get(key, (self.burst, now))
            level = min(self.burst, level + (now - then) * self.rate)
            self._levels[key] = (level - 1 if level >= 1 else level, now)
            return level >= 1

    def _forget(self, now: float) -> None:
        full = [
            key
            for key, (level, then) in self._levels.items()
            if level + (now - then) * self.rate >= self.burst
        ]
        for key in full or list(self._levels):
            del self._levels[key]


class SafeHeaders:
    """ASGI middleware that adds ``HEADERS`` to every response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, and add the headers to its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in given
                    ),
                ]
            await send(message)

        await self.app(scope, receive, with_headers)

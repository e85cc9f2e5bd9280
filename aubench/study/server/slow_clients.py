"""Clients that connect and say nothing, or read nothing: they give way to those that do.

A connection waits until a whole request has come. It may do so for some seconds, and of one
address only so many may wait at once; of more, the one that has waited longest is closed. A rater
whose browser sends its request at once is served whoever else holds connections open, from the
same address too, as behind a proxy.
"""

from __future__ import annotations

import asyncio
import resource
from collections import defaultdict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""In which a whole request must have come, counted from the connection or the last answer."""
READ_SECONDS = 30.0
"""In which a client must read something of an answer that is ready."""
OF_ONE_ADDRESS = 128
"""Connections of one address that may wait at once."""
BACKLOG = 128
"""Connections that are accepted in one go, before any of them is closed for another."""


class WaitingConnections:
    """Connections that have not sent a whole request, oldest first; too many are closed.

    Args:
        of_one_address: How many of one address may wait.
        of_all: How many of all addresses together.
    """

    of_one_address: int
    of_all: int

    def __init__(self, of_one_address: int, of_all: int) -> None:
        self.of_one_address, self.of_all = of_one_address, of_all
        self._of_address: dict[str, dict[PatientProtocol, None]] = defaultdict(dict)
        self._all: dict[PatientProtocol, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: PatientProtocol) -> None:
        """Let a connection wait, at the end of the queue."""
        self.remove(one)
        mine = self._of_address[one.address]
        mine[one] = self._all[one] = None
        if len(mine) > self.of_one_address:
            self._close(next(iter(mine)))
        elif len(self._all) > self.of_all:
            self._close(next(iter(self._all)))

    def remove(self, one: PatientProtocol) -> None:
        """Take a connection out, that has sent its request or is gone."""
        self._all.pop(one, None)
        mine = self._of_address.get(one.address, {})
        mine.pop(one, None)
        if not mine:
            self._of_address.pop(one.address, None)

    def _close(self, one: PatientProtocol) -> None:
        self.remove(one)
        one.transport.abort()


class PatientProtocol(H11Protocol):
    """HTTP by h11 whose patience with slow clients ends; ``waiting`` is set by a subclass."""

    waiting: WaitingConnections
    request_seconds: float = REQUEST_SECONDS
    read_seconds: float = READ_SECONDS
    address: str = "?"
    _request_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else "?"
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a whole request ends the wait."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.transport.is_closing():
            self._wait()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give a client that does not read its answer some time."""
        self._read_timer = self.loop.call_later(self.read_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        if self._read_timer is not None:
            self._read_timer.cancel()
        super().resume_writing()

    def _wait(self) -> None:
        self._stop_waiting()
        self._request_timer = self.loop.call_later(self.request_seconds, self.transport.abort)
        self.waiting.add(self)

    def _stop_waiting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
        self.waiting.remove(self)


def protocol(open_files: int | None = None) -> type[PatientProtocol]:
    """Return the protocol of one server.

    Args:
        open_files: How many files the process may open, by default what the system says; half of
            them may be connections that wait.
    """
    limit = open_files or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    of_all = max(8, min(limit, 1 << 16) // 2)
    queue = WaitingConnections(min(OF_ONE_ADDRESS, of_all), of_all)
    return type("StudyProtocol", (PatientProtocol,), {"waiting": queue})

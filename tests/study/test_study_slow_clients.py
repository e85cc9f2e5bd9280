"""A real server under clients that hold connections open and never send a whole request."""

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import time

import httpx
import pytest
import uvicorn

from aubench.study.server.slow_clients import WaitingConnections, protocol

SERVE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from aubench.cli.main import main
main(["study", "serve", *sys.argv[1:]])
"""
HALF = b"GET /health HTTP/1.1\r\nHost: study\r\nX-Slow: "


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def server(study):
    """The port of a server that may open 128 files."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SERVE, str(study.path), "--port", str(port)]) as p:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert p.poll() is None
            time.sleep(0.05)
        yield port
        p.kill()


def test_raters_are_served_beside_more_half_open_connections_than_the_server_may_hold(
    server, study
):
    held = []
    try:
        for number in range(300):
            one = socket.create_connection(("127.0.0.1", server), timeout=20)
            one.sendall(HALF if number % 2 else b"")
            held.append(one)
        url = f"http://127.0.0.1:{server}"
        with httpx.Client(base_url=url, timeout=20) as rater:
            state = rater.get(study.link(0) + "state").json()
            assert state["phase"] == "consent"
            agreed = rater.post(study.link(0) + "consent", json={"sha256": state["sha256"]})
            assert agreed.json()["phase"] == "practice"
    finally:
        for one in held:
            one.close()


class Connection:
    def __init__(self, address):
        self.address, self.transport, self.closed = address, self, False

    def abort(self):
        self.closed = True


def test_the_oldest_of_an_address_gives_way_and_then_the_oldest_of_all():
    queue = WaitingConnections(of_one_address=2, of_all=3)
    a, b, c, d, e = (Connection(address) for address in ("x", "x", "y", "x", "z"))
    for one in (a, b, c):
        queue.add(one)
    assert not any(one.closed for one in (a, b, c)) and len(queue) == 3
    queue.add(d)
    assert a.closed and not b.closed
    queue.remove(c)  # it sent its request
    queue.add(c)  # and waits for the next
    queue.add(e)
    assert b.closed and not c.closed and len(queue) == 3


async def _answer(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    size = int(scope["query_string"] or b"2")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"k" * size, "more_body": True})
    await send({"type": "http.response.body", "body": b"k"})


@contextlib.asynccontextmanager
async def serving(**patience):
    """A server in this loop with little patience; yields its port."""
    kind = type("Hasty", (protocol(),), patience)
    config = uvicorn.Config(_answer, http=kind, lifespan="off", log_config=None, port=0)
    one = uvicorn.Server(config)
    task = asyncio.create_task(one.serve())
    while not one.started:
        await asyncio.sleep(0.01)
    try:
        yield one.servers[0].sockets[0].getsockname()[1]
    finally:
        one.should_exit = True
        await task


async def connected(port, receive_buffer=None):
    one = socket.socket()
    if receive_buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    return one


async def read_all(one):
    """Return how many bytes come until the server ends the connection."""
    got = 0
    with contextlib.suppress(ConnectionError):
        while part := await asyncio.get_running_loop().sock_recv(one, 1 << 20):
            got += len(part)
    return got


@pytest.mark.parametrize(
    "sent",
    [b"", HALF, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nhal"],
    ids=["nothing", "half a header", "half a body"],
)
def test_a_request_that_does_not_end_is_given_up_though_more_of_it_drips_in(sent):
    async def drip():
        async with serving(request_seconds=0.3) as port:
            with await connected(port) as one:
                one.send(sent)
                reading = asyncio.create_task(read_all(one))
                for _ in range(1000):
                    await asyncio.wait([reading], timeout=0.05)
                    if reading.done():
                        return await reading
                    with contextlib.suppress(OSError):
                        one.send(b"x" if sent else b"")
                return reading.cancel()

    assert asyncio.run(drip()) == 0


def test_a_client_that_reads_nothing_is_given_up_and_one_that_reads_gets_all():
    size = 1 << 23
    request = f"GET /?{size} HTTP/1.0\r\nHost: x\r\n\r\n".encode()

    async def both():
        async with serving(read_seconds=0.3) as port:
            with await connected(port) as one:
                one.send(request)
                whole = await read_all(one)
            with await connected(port, 4096) as deaf:
                deaf.send(request)
                await asyncio.sleep(1.0)
                return whole, await read_all(deaf)

    whole, part = asyncio.run(both())
    assert whole > size > part


def test_keep_alive_goes_on_and_half_of_the_files_may_wait():
    assert protocol(1024).waiting.of_all == 512 and protocol(1024).waiting.of_one_address == 128
    assert protocol(64).waiting.of_one_address == 32
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64

    async def thrice():
        async with (
            serving(request_seconds=0.5) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            for _ in range(3):
                assert (await client.post("/", content=b"body")).text == "kkk"
                await asyncio.sleep(0.3)

    asyncio.run(thrice())

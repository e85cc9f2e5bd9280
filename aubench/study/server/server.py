"""The server of a study: Starlette in front, sessions behind; the key stays shut."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from aubench.errors import AubenchError
from aubench.study.design.files import (
    DATABASE,
    IMAGES,
    SECRETS,
    Secrets,
    read,
    read_consent,
    read_design,
    require_filled,
)
from aubench.study.design.language import Language, of_study
from aubench.study.design.sealing import new_token, opaque, token_digest
from aubench.study.server import monitor
from aubench.study.server.erasure import forget
from aubench.study.server.intake import parameters
from aubench.study.server.limits import MAX_BODY, Buckets, SafeHeaders
from aubench.study.server.pages import ASSETS, render
from aubench.study.server.preview import Preview
from aubench.study.server.session import Refused, Sessions
from aubench.study.server.store import Rater, Store, open_engine, sqlite_url

CHECKPOINT_SECONDS = 20.0
"""How often the log of SQLite is brought into its file while a server runs."""
COOKIE = "place"
"""Leads who comes by the public link back to the link that was handed out."""
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Endpoint = Callable[[Request], Awaitable[Response]]
Opaque = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Body(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


class Consent(_Body):
    """Body of ``consent``."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Ranking(_Body):
    """Body of ``rank``: image ids, best first."""

    trial: Opaque
    ranking: list[Opaque] = Field(min_length=2, max_length=9)
    active_ms: int | None = Field(None, ge=0, le=86_400_000)


class Rating(_Body):
    """Body of ``rate``: a value by question."""

    trial: Opaque
    ratings: dict[str, int] = Field(min_length=1, max_length=40)
    active_ms: int | None = Field(None, ge=0, le=86_400_000)


class Form(_Body):
    """Body of ``form``: answers by question, and the size of the window."""

    answers: dict[str, Annotated[str, Field(max_length=1000)] | float] = Field(max_length=100)
    width: int = Field(ge=0, le=100_000)
    height: int = Field(ge=0, le=100_000)


class Read(_Body):
    """Body of ``read``: the number of a page of the study's own."""

    page: int = Field(ge=0, le=1000)


class Remark(_Body):
    """Body of ``remark``."""

    text: str = Field(max_length=2000)


class Erase(_Body):
    """Body of ``erase``: the number of a rater."""

    rater: int = Field(ge=1)


Body = TypeVar("Body", bound=BaseModel)


async def _body(request: Request, kind: type[Body]) -> Body:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise HTTPException(413, "too large")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise HTTPException(422, "not what was asked for") from error


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


class Server:
    """The endpoints of one study.

    Args:
        sessions: What raters see and do.
        study: Folder of the study.
        secrets: Digest of the admin token.
        rate: Requests a second that one link may make in the long run.
        burst: How many may come at once.
    """

    sessions: Sessions
    study: Path
    secrets: Secrets

    def __init__(
        self, sessions: Sessions, study: Path, secrets: Secrets, rate: float, burst: float
    ) -> None:
        self.sessions, self.study, self.secrets = sessions, study, secrets
        self.store: Store = sessions.store
        self.language: Language = sessions.language
        self._links = Buckets(rate, burst)
        self._strangers = Buckets(0.5, 30)
        self._joins = Buckets(min(rate, 5.0), max(burst, 100.0))
        self._preview = Preview(sessions)
        self._page = render("rank.html", self.language, "page", "script")
        self._admin_page = render("admin.html", self.language, "admin", "admin")

    async def _rater(self, request: Request) -> tuple[Sessions, Rater]:
        token = str(request.path_params["token"])
        if not self._links.take(token_digest(token)):
            raise HTTPException(429, self.language.error("many"), {"Retry-After": "2"})
        sessions = await run_in_threadpool(self._side, request)
        rater = await run_in_threadpool(sessions.store.find, token_digest(token))
        if rater is None:
            self._stranger(request)
            raise HTTPException(404, self.language.error("link"))
        return sessions, rater

    def _side(self, request: Request) -> Sessions:
        """Return the study itself, or the leader's preview of it, whose answers are thrown away."""
        if not request.url.path.startswith("/preview/"):
            return self.sessions
        digest = token_digest(str(request.path_params["token"]))
        if not hmac.compare_digest(digest, self.secrets.preview_sha256 or ""):
            return self.sessions
        return self._preview.sessions()

    def _stranger(self, request: Request) -> None:
        """Slow down those who guess links."""
        if not self._strangers.take(_host(request)):
            raise HTTPException(429, self.language.error("many"), {"Retry-After": "60"})

    async def page(self, request: Request) -> Response:
        """Serve the page of a rater, the same bytes for everyone."""
        sessions, _ = await self._rater(request)
        if sessions is not self.sessions:
            await run_in_threadpool(self._preview.anew)
        return HTMLResponse(self._page)

    async def join(self, request: Request) -> Response:
        """Hand out a link of one's own; the same person of a panel gets the same one."""
        digest = token_digest(str(request.path_params["token"]))
        if not hmac.compare_digest(digest, self.secrets.public_sha256 or ""):
            self._stranger(request)
            raise HTTPException(404, self.language.error("link"))
        if not self._joins.take(_host(request)):
            raise HTTPException(429, self.language.error("many"), {"Retry-After": "10"})
        asked = self.sessions.design.intake
        panel = parameters(asked, request.query_params)
        person = panel.get(asked.panel.identity or "") if asked.panel else None
        known = request.cookies.get(COOKIE, "")
        placed: Rater | None = None
        if person is None and known:
            placed = await run_in_threadpool(self.store.find, token_digest(known))
        if person is not None:
            token = opaque(self.secrets.image_secret, "join", person)
        elif placed is not None:
            token = known
        else:
            token = new_token()
        await run_in_threadpool(self.store.join, token_digest(token), panel)
        response = RedirectResponse(f"/s/{token}/", 303)
        if person is None:
            response.set_cookie(
                COOKIE, token, max_age=30 * 86400, path="/join", httponly=True, samesite="lax"
            )
        return response

    async def asset(self, request: Request) -> Response:
        """Serve one of the page's own files."""
        path = ASSETS / str(request.path_params["name"])
        if path.name not in {file.name for file in ASSETS.iterdir() if file.suffix in TYPES}:
            raise HTTPException(404, "not found")
        return FileResponse(path, media_type=TYPES[path.suffix])

    def _now(self, sessions: Sessions, rater: int) -> dict[str, Any]:
        state = sessions.state(sessions.store.get(rater))
        return state if sessions is self.sessions else {**state, "preview": True}

    async def state(self, request: Request) -> Response:
        """Return what the page shows now."""
        sessions, rater = await self._rater(request)
        return JSONResponse(await run_in_threadpool(self._now, sessions, rater.id))

    async def _do(self, sessions: Sessions, rater: Rater, call: Callable[[], object]) -> Response:
        """Do something, then return what the page shows next, with the reason of a refusal."""

        def work() -> tuple[dict[str, Any], int]:
            try:
                call()
            except Refused as refused:
                return {**self._now(sessions, rater.id), "error": refused.reason}, refused.status
            return self._now(sessions, rater.id), 200

        return JSONResponse(*await run_in_threadpool(work))

    async def consent(self, request: Request) -> Response:
        """Take consent."""
        (side, rater), body = await self._rater(request), await _body(request, Consent)
        return await self._do(side, rater, lambda: side.agree(rater, body.sha256))

    async def form(self, request: Request) -> Response:
        """Take the form and the size of the window."""
        (side, rater), body = await self._rater(request), await _body(request, Form)
        return await self._do(
            side, rater, lambda: side.fill(rater, body.answers, body.width, body.height)
        )

    async def read(self, request: Request) -> Response:
        """Note that a page of the study's own was read."""
        (side, rater), body = await self._rater(request), await _body(request, Read)
        return await self._do(side, rater, lambda: side.read(rater, body.page))

    async def rank(self, request: Request) -> Response:
        """Take a ranking; answered only after it is committed."""
        (side, rater), body = await self._rater(request), await _body(request, Ranking)
        return await self._do(
            side, rater, lambda: side.rank(rater, body.trial, body.ranking, body.active_ms)
        )

    async def rate(self, request: Request) -> Response:
        """Take the ratings of a face; answered only after they are committed."""
        (side, rater), body = await self._rater(request), await _body(request, Rating)
        return await self._do(
            side, rater, lambda: side.rate(rater, body.trial, body.ratings, body.active_ms)
        )

    async def remark(self, request: Request) -> Response:
        """Take a remark."""
        (side, rater), body = await self._rater(request), await _body(request, Remark)
        return await self._do(side, rater, lambda: side.store.remark(rater.id, body.text))

    async def withdraw(self, request: Request) -> Response:
        """Delete what a rater gave."""
        (side, rater), _ = await self._rater(request), await _body(request, _Body)

        def work() -> object:
            own = side is self.sessions
            return forget(self.study, self.store, rater.id) if own else side.store.erase(rater.id)

        return await self._do(side, rater, work)

    async def image(self, request: Request) -> Response:
        """Serve an image of the rater's present trial."""
        sessions, rater = await self._rater(request)
        try:
            name = await run_in_threadpool(sessions.image, rater, str(request.path_params["image"]))
        except Refused as refused:
            raise HTTPException(refused.status, refused.reason) from refused
        data = await run_in_threadpool((self.study / IMAGES / f"{name}.png").read_bytes)
        return Response(data, media_type="image/png")

    def _admin(self, request: Request) -> None:
        digest = token_digest(str(request.path_params["token"]))
        if not hmac.compare_digest(digest, self.secrets.admin_sha256):
            self._stranger(request)
            raise HTTPException(404, self.language.error("link"))

    async def admin(self, request: Request) -> Response:
        """Serve the admin page."""
        self._admin(request)
        return HTMLResponse(self._admin_page)

    async def progress(self, request: Request) -> Response:
        """Return live progress."""
        self._admin(request)
        return JSONResponse(
            await run_in_threadpool(monitor.progress, self.sessions.design, self.store)
        )

    async def answers(self, request: Request) -> Response:
        """Return every answer as CSV."""
        self._admin(request)
        text = await run_in_threadpool(monitor.answers_csv, self.store)
        disposition = {"Content-Disposition": 'attachment; filename="answers.csv"'}
        return PlainTextResponse(text, media_type="text/csv", headers=disposition)

    async def participants(self, request: Request) -> Response:
        """Return every rater as CSV, with what the panel sent and the answers of the form."""
        self._admin(request)
        text = await run_in_threadpool(monitor.participants_csv, self.sessions.design, self.store)
        disposition = {"Content-Disposition": 'attachment; filename="participants.csv"'}
        return PlainTextResponse(text, media_type="text/csv", headers=disposition)

    async def erase(self, request: Request) -> Response:
        """Delete what a rater gave, by the leader's hand."""
        self._admin(request)
        body = await _body(request, Erase)
        removed = await run_in_threadpool(forget, self.study, self.store, body.rater)
        if removed is None:
            raise HTTPException(404, "no such rater")
        return JSONResponse({"erased": body.rater, "exports": len(removed)})

    async def health(self, request: Request) -> Response:
        """Say that the server and its data base answer."""
        await run_in_threadpool(self.store.closed)
        return PlainTextResponse("ok")

    def routes(self) -> list[Route]:
        """Return the routes."""
        admin = "/admin/{token}"
        own = [
            route for link in ("/s/{token}", "/preview/{token}") for route in self._of_link(link)
        ]
        return [
            Route("/health", self.health),
            Route("/assets/{name}", self.asset),
            Route("/join/{token}/", self.join),
            *own,
            Route(f"{admin}/", self.admin),
            Route(f"{admin}/progress", self.progress),
            Route(f"{admin}/answers.csv", self.answers),
            Route(f"{admin}/participants.csv", self.participants),
            Route(f"{admin}/erase", self.erase, methods=["POST"]),
        ]

    def _of_link(self, link: str) -> list[Route]:
        posted = (
            self.consent,
            self.form,
            self.read,
            self.rank,
            self.rate,
            self.remark,
            self.withdraw,
        )
        return [
            Route(f"{link}/", self.page),
            Route(f"{link}/state", self.state),
            Route(f"{link}/i/{{image}}", self.image),
            *(Route(f"{link}/{act.__name__}", act, methods=["POST"]) for act in posted),
        ]


def _host(request: Request) -> str:
    return request.client.host if request.client else "?"


def _lifespan(store: Store) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return what brings the log into the data base at intervals, and at the end."""

    async def at_intervals() -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            try:
                await run_in_threadpool(store.checkpoint)
            except SQLAlchemyError as error:
                logging.getLogger(__name__).warning("no checkpoint: %s", error)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(at_intervals())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task  # a checkpoint that is under way would keep the last one from its work
            await run_in_threadpool(store.shut)

    return lifespan


def application(
    study: Path, database: str | None = None, *, rate: float = 10.0, burst: float = 80.0
) -> Starlette:
    """Return the ASGI application of a study folder.

    Args:
        study: Made by ``aubench study create``; its key may be elsewhere.
        database: SQLAlchemy URL; a SQLite file in the folder if None.
        rate: Requests a second of one link in the long run.
        burst: How many may come at once.

    Raises:
        AubenchError: The folder is damaged, or an image is missing.
    """
    design, digest = read_design(study)
    secrets, consent = read(study / SECRETS, Secrets), read_consent(study, design)
    for trial in (*design.trials, design.practice):
        for name in (*trial.images, *filter(None, [trial.reference])):
            if not (study / IMAGES / f"{name}.png").is_file():
                raise AubenchError(f"{study / IMAGES / name}.png is missing", "restore the study")
    store = Store(open_engine(database or sqlite_url(study / DATABASE)))
    store.prepare(digest, len(design.places), secrets.links_sha256)
    language = of_study(study, design.language)
    sessions = Sessions(design, secrets, consent, store, language)
    server = Server(sessions, study, secrets, rate, burst)
    return Starlette(
        routes=list(server.routes()),
        middleware=[Middleware(SafeHeaders)],
        exception_handlers={HTTPException: _http_error},
        lifespan=_lifespan(store),
    )


def serve(
    study: Path, host: str, port: int, database: str | None, ready: Callable[[], None]
) -> None:
    """Serve a study until interrupted; requests are not logged, since paths hold tokens.

    Args:
        study: Its folder.
        host: Address to listen on.
        port: Port of it.
        database: SQLAlchemy URL, the folder's own if None.
        ready: Called once the address is listened on.

    Raises:
        AubenchError: The study is damaged, or the address cannot be listened on.
    """
    import uvicorn

    from aubench.study.server.slow_clients import BACKLOG, protocol

    require_filled(study)
    app = application(study, database)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AubenchError(
            f"cannot listen on {host}:{port}: {error.strerror}", "choose another --host or --port"
        ) from error
    config = uvicorn.Config(
        app,
        http=protocol(),
        backlog=BACKLOG,
        access_log=False,
        log_config=None,  # who embeds the server keeps the handlers of his own logging
        server_header=False,
        date_header=False,
        log_level="warning",
        proxy_headers=False,
    )
    with listening:
        ready()
        uvicorn.Server(config).run(sockets=[listening])

"""The server of a study: Starlette in front, sessions behind; the key stays shut."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aubench.errors import AubenchError
from aubench.study import monitor
from aubench.study.limits import MAX_BODY, Buckets, SafeHeaders
from aubench.study.sealing import token_digest
from aubench.study.session import Refused, Sessions
from aubench.study.settings import (
    DATABASE,
    IMAGES,
    SECRETS,
    Secrets,
    read,
    read_consent,
    read_design,
)
from aubench.study.store import Rater, Store, open_engine, sqlite_url

ASSETS = Path(__file__).with_name("assets")
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


class Remark(_Body):
    """Body of ``remark``."""

    text: str = Field(max_length=2000)


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
        sessions: what raters see and do.
        images: folder of the images under their opaque names.
        secrets: digest of the admin token.
        rate: requests a second that one link may make in the long run.
        burst: and at once.
    """

    sessions: Sessions
    images: Path
    secrets: Secrets

    def __init__(
        self, sessions: Sessions, images: Path, secrets: Secrets, rate: float, burst: float
    ) -> None:
        self.sessions, self.images, self.secrets = sessions, images, secrets
        self.store: Store = sessions.store
        self._links = Buckets(rate, burst)
        self._strangers = Buckets(0.5, 30)

    async def _rater(self, request: Request) -> Rater:
        token = str(request.path_params["token"])
        if not self._links.take(token_digest(token)):
            raise HTTPException(429, "too many requests", {"Retry-After": "2"})
        rater = await run_in_threadpool(self.store.find, token_digest(token))
        if rater is None:
            self._stranger(request)
            raise HTTPException(404, "this link is not valid")
        return rater

    def _stranger(self, request: Request) -> None:
        """Slow down those who guess links."""
        host = request.client.host if request.client else "?"
        if not self._strangers.take(host):
            raise HTTPException(429, "too many requests", {"Retry-After": "60"})

    async def page(self, request: Request) -> Response:
        """Serve the page of a rater, the same bytes for everyone."""
        await self._rater(request)
        return FileResponse(ASSETS / "rank.html", media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """Serve one of the page's own files."""
        path = ASSETS / str(request.path_params["name"])
        if path.name not in {file.name for file in ASSETS.iterdir() if file.suffix in TYPES}:
            raise HTTPException(404, "not found")
        return FileResponse(path, media_type=TYPES[path.suffix])

    def _now(self, token: str) -> dict[str, Any]:
        rater = self.store.find(token_digest(token))
        assert rater is not None
        return self.sessions.state(rater)

    async def state(self, request: Request) -> Response:
        """Return what the page shows now."""
        rater = await self._rater(request)
        return JSONResponse(await run_in_threadpool(self.sessions.state, rater))

    async def _do(self, request: Request, call: Callable[..., Any], *words: Any) -> Response:
        """Do something, then return what the page shows next, with the reason of a refusal."""

        def work() -> tuple[dict[str, Any], int]:
            token = str(request.path_params["token"])
            try:
                call(*words)
            except Refused as refused:
                return {**self._now(token), "error": refused.reason}, refused.status
            return self._now(token), 200

        return JSONResponse(*await run_in_threadpool(work))

    async def consent(self, request: Request) -> Response:
        """Take consent."""
        rater, body = await self._rater(request), await _body(request, Consent)
        return await self._do(request, self.sessions.agree, rater, body.sha256)

    async def rank(self, request: Request) -> Response:
        """Take a ranking; answered only after it is committed."""
        rater, body = await self._rater(request), await _body(request, Ranking)
        return await self._do(
            request, self.sessions.rank, rater, body.trial, body.ranking, body.active_ms
        )

    async def remark(self, request: Request) -> Response:
        """Take a remark."""
        rater, body = await self._rater(request), await _body(request, Remark)
        return await self._do(request, self.store.remark, rater.id, body.text)

    async def withdraw(self, request: Request) -> Response:
        """Delete what a rater gave."""
        rater, _ = await self._rater(request), await _body(request, _Body)
        return await self._do(request, self.store.withdraw, rater.id)

    async def image(self, request: Request) -> Response:
        """Serve an image of the rater's present trial."""
        rater = await self._rater(request)
        try:
            name = await run_in_threadpool(
                self.sessions.image, rater, str(request.path_params["image"])
            )
        except Refused as refused:
            raise HTTPException(refused.status, refused.reason) from refused
        data = await run_in_threadpool((self.images / f"{name}.png").read_bytes)
        return Response(data, media_type="image/png")

    def _admin(self, request: Request) -> None:
        digest = token_digest(str(request.path_params["token"]))
        if not hmac.compare_digest(digest, self.secrets.admin_sha256):
            self._stranger(request)
            raise HTTPException(404, "this link is not valid")

    async def admin(self, request: Request) -> Response:
        """Serve the admin page."""
        self._admin(request)
        return FileResponse(ASSETS / "admin.html", media_type="text/html")

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

    async def health(self, request: Request) -> Response:
        """Say that the server and its data base answer."""
        await run_in_threadpool(self.store.closed)
        return PlainTextResponse("ok")

    def routes(self) -> list[Route]:
        """Return the routes."""
        link, admin = "/s/{token}", "/admin/{token}"
        return [
            Route("/health", self.health),
            Route("/assets/{name}", self.asset),
            Route(f"{link}/", self.page),
            Route(f"{link}/state", self.state),
            Route(f"{link}/i/{{image}}", self.image),
            Route(f"{link}/consent", self.consent, methods=["POST"]),
            Route(f"{link}/rank", self.rank, methods=["POST"]),
            Route(f"{link}/remark", self.remark, methods=["POST"]),
            Route(f"{link}/withdraw", self.withdraw, methods=["POST"]),
            Route(f"{admin}/", self.admin),
            Route(f"{admin}/progress", self.progress),
            Route(f"{admin}/answers.csv", self.answers),
        ]


def application(
    study: Path, database: str | None = None, *, rate: float = 10.0, burst: float = 80.0
) -> Starlette:
    """Return the ASGI application of a study folder.

    Args:
        study: made by ``aubench study create``; its key may be elsewhere.
        database: SQLAlchemy URL; a SQLite file in the folder if None.
        rate: requests a second of one link in the long run.
        burst: and at once.

    Raises:
        AubenchError: the folder is damaged, or an image is missing.
    """
    design, digest = read_design(study)
    secrets, consent = read(study / SECRETS, Secrets), read_consent(study, design)
    for trial in (*design.trials, design.practice):
        for name in trial.images:
            if not (study / IMAGES / f"{name}.png").is_file():
                raise AubenchError(f"{study / IMAGES / name}.png is missing", "restore the study")
    store = Store(open_engine(database or sqlite_url(study / DATABASE)))
    store.prepare(digest, len(design.places), secrets.links_sha256)
    server = Server(Sessions(design, secrets, consent, store), study / IMAGES, secrets, rate, burst)
    return Starlette(
        routes=list(server.routes()),
        middleware=[Middleware(SafeHeaders)],
        exception_handlers={HTTPException: _http_error},
    )


def serve(
    study: Path, host: str, port: int, database: str | None, ready: Callable[[], None]
) -> None:
    """Serve a study until interrupted; requests are not logged, since paths hold tokens.

    Args:
        study: its folder.
        host: address to listen on.
        port: of it.
        database: SQLAlchemy URL, the folder's own if None.
        ready: called once the address is listened on.

    Raises:
        AubenchError: the study is damaged, or the address cannot be listened on.
    """
    import uvicorn

    app = application(study, database)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise AubenchError(
            f"cannot listen on {host}:{port}: {error.strerror}", "choose another --host or --port"
        ) from error
    config = uvicorn.Config(
        app, access_log=False, server_header=False, date_header=False, log_level="warning",
        proxy_headers=False, lifespan="off",
    )  # fmt: skip
    with listening:
        ready()
        uvicorn.Server(config).run(sockets=[listening])

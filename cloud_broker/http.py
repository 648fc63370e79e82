"""The server over HTTP: blobs by digest, releases, rollouts, status, live events, the page. A thin shell.

Reading is free; whatever changes something needs `Authorization: Bearer <token>`. A refusal is JSON with
`error` (a sentence), `reason` (a stable code) and `next` (what to do).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cloud_broker import page, rollout_spec, views
from cloud_broker.database import Database
from cloud_broker.dispatcher import Dispatcher, Refused
from cloud_broker.registry import Registry, RegistryError, Release
from cloud_broker.rollout_spec import PolicyError
from cloud_broker.store import BlobStore, StoreError
from cloud_broker.wire.messages import MAX_MESSAGE, Reason

LISTENERS = 64
"""Live connections at once; one more is told to come back."""
SHOWN_EVENTS = 30
STATUS_OF = {
    Reason.TOO_LARGE: 413,
    Reason.DISK_FULL: 507,
    Reason.DIGEST_MISMATCH: 422,
    Reason.BAD_SPEC: 422,
    Reason.UNKNOWN_KEY: 403,
    Reason.BAD_SIGNATURE: 403,
    Reason.TOO_OLD: 409,
    Reason.FETCH_FAILED: 409,
}
"""HTTP status of a refusal; 400 for the others."""
NEXT = {
    401: "send the token that lies in the server's state folder",
    404: "check the name and the address",
    413: "send less",
    503: "come back later",
}
"""What to do about a status, where there is nothing better to say."""


class Live:
    """Wakes the live connections when something has changed; changes in quick succession are one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flags: set[asyncio.Event] = set()
        self.closing = False

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()

    def changed(self) -> None:
        """From any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """On the loop: every live connection ends now."""
        self.closing = True
        self._wake()

    def _wake(self) -> None:
        for flag in self._flags:
            flag.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Event]:
        flag = asyncio.Event()
        self._flags.add(flag)
        try:
            yield flag
        finally:
            self._flags.discard(flag)

    @property
    def full(self) -> bool:
        return len(self._flags) >= LISTENERS


@dataclass(frozen=True)
class Site:
    """What the interface stands on."""

    database: Database
    store: BlobStore
    registry: Registry
    dispatcher: Dispatcher
    token: str
    clock: Callable[[], float]
    live: Live = field(default_factory=Live)


def application(site: Site) -> Starlette:
    """The ASGI application."""
    site.dispatcher.on_change(site.live.changed)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.live.open()
        yield

    app = Starlette(routes=ROUTES, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.site = site
    return app


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def _authorized(request: Request) -> Site:
    """Raises HTTPException (401) without the right token."""
    site = _site(request)
    given = request.headers.get("authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {site.token}".encode()):
        raise HTTPException(
            401, "this needs `Authorization: Bearer TOKEN` with the token of the server's state folder"
        )
    return site


async def _json(request: Request) -> dict[str, Any]:
    body = await _body(request, MAX_MESSAGE)
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise HTTPException(400, "expected a JSON object as the body")
    return fields


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body has more than {limit} bytes")
    return bytes(body)


# --- blobs ------------------------------------------------------------------------------------------------


class BlobResponse(FileResponse):
    chunk_size = 1 << 20


def get_blob(request: Request) -> Response:
    digest = request.path_params["digest"]
    site = _site(request)
    size = _blob_size(site, digest)
    if size is None:
        raise HTTPException(404, f"there is no blob {digest}")
    headers = {"ETag": f'"{digest}"', "Cache-Control": "public, max-age=31536000, immutable"}
    if request.headers.get("if-none-match") in (headers["ETag"], "*"):
        return Response(status_code=304, headers=headers)
    path = site.store.path(digest)
    return BlobResponse(path, headers=headers, media_type="application/octet-stream", stat_result=path.stat())


async def put_blob(request: Request) -> Response:
    site = _authorized(request)
    digest = request.path_params["digest"]
    if _blob_size(site, digest) is not None:
        return JSONResponse({"digest": digest}, status_code=200)
    with site.store.receive(digest) as incoming:
        async for chunk in request.stream():
            incoming.write(chunk)
    return JSONResponse({"digest": digest, "size": incoming.size}, status_code=201)


def _blob_size(site: Site, digest: str) -> int | None:
    try:
        return site.store.size(digest)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


# --- releases and rollouts --------------------------------------------------------------------------------


def get_releases(request: Request) -> Response:
    return JSONResponse([views.release(release) for release in reversed(_site(request).registry.all())])


async def post_release(request: Request) -> Response:
    site = _authorized(request)
    envelope = await _body(request, MAX_MESSAGE)
    release = await run_in_threadpool(site.registry.add_release, envelope, site.clock())
    site.live.changed()
    return JSONResponse(views.release(release), status_code=201)


def get_rollouts(request: Request) -> Response:
    rollouts = _site(request).dispatcher.rollouts()
    return JSONResponse([views.rollout(state, members=False) for state in rollouts])


def get_rollout(request: Request) -> Response:
    name = request.path_params["id"]
    state = _site(request).dispatcher.rollout(name)
    if state is None:
        raise HTTPException(404, f"there is no rollout {name!r}")
    return JSONResponse(views.rollout(state))


async def post_rollout(request: Request) -> Response:
    site = _authorized(request)
    wish = await _json(request)
    release = _wished(site, wish)
    values = wish.get("policy")
    if values is not None and not isinstance(values, dict):
        raise HTTPException(422, "policy: expected a table such as the [rollout] of a rollout spec")
    policy = None if values is None else rollout_spec.policy(values, "policy")
    state = await run_in_threadpool(site.dispatcher.start_rollout, release, policy)
    return JSONResponse(views.rollout(state), status_code=201)


def _wished(site: Site, wish: Mapping[str, Any]) -> Release:
    name, task = wish.get("release"), wish.get("task")
    if isinstance(name, str):
        release = site.registry.get(name)
    elif isinstance(task, str):
        release = site.registry.newest(task)
    else:
        raise HTTPException(422, 'expected {"task": name} or {"release": digest}, and perhaps "policy"')
    if release is None:
        what = repr(name) if name else f"of task {task!r}"
        raise HTTPException(404, f"there is no release {what}; `walle release` adds one")
    return release


async def post_verb(request: Request) -> Response:
    site = _authorized(request)
    parameters = request.path_params
    state = await run_in_threadpool(site.dispatcher.act, parameters["id"], parameters["verb"])
    return JSONResponse(views.rollout(state))


async def post_rollback(request: Request) -> Response:
    site = _authorized(request)
    state = await run_in_threadpool(site.dispatcher.rollback, request.path_params["task"])
    return JSONResponse(views.rollout(state), status_code=201)


# --- looking ----------------------------------------------------------------------------------------------


def status(site: Site) -> views.View:
    """Everything at a glance."""
    return {
        "at": site.clock(),
        "boards": [views.board(board) for board in site.dispatcher.boards()],
        "releases": [views.release(release) for release in reversed(site.registry.all())],
        "rollouts": [views.rollout(state) for state in site.dispatcher.rollouts()],
        "counters": dict(site.dispatcher.counters),
    }


def get_status(request: Request) -> Response:
    return JSONResponse(status(_site(request)))


async def get_events(request: Request) -> Response:
    """Server-sent events: `log`, an audit event by its number, and `change`, when anything may differ."""
    site = _site(request)
    if site.live.full:
        raise HTTPException(503, f"{LISTENERS} live connections already; come back later")
    given = request.headers.get("last-event-id") or request.query_params.get("after") or ""
    newest = await run_in_threadpool(site.database.events, last=1)
    after = int(given) if re.fullmatch("[0-9]{1,18}", given) else newest[-1].id if newest else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(site, after), media_type="text/event-stream", headers=headers)


async def _stream(site: Site, after: int) -> AsyncIterator[str]:
    async with site.live.listening() as flag:
        while not site.live.closing:
            flag.clear()
            for event in await run_in_threadpool(site.database.events, after=after):
                after = event.id
                yield f"id: {event.id}\nevent: log\ndata: {event.json()}\n\n"
            yield "event: change\ndata: {}\n\n"
            await asyncio.sleep(0.2)
            try:
                await asyncio.wait_for(flag.wait(), 15)
            except TimeoutError:
                yield ": still here\n\n"


def get_page(request: Request) -> Response:
    """The page, or with `?part=main` what changes of it."""
    site = _site(request)
    main = page.main(status(site), site.database.events(last=SHOWN_EVENTS))
    if request.query_params.get("part") == "main":
        return HTMLResponse(main, headers=page.HEADERS)
    return HTMLResponse(page.whole(main), headers=page.HEADERS)


def get_health(request: Request) -> Response:
    """200 while the server can serve; raises when its threads or its database cannot."""
    _site(request).database.events(last=1)
    return JSONResponse({"ok": True})


ROUTES = [
    Route("/", get_page),
    Route("/healthz", get_health),
    Route("/blobs/sha256/{digest}", get_blob, methods=["GET", "HEAD"]),
    Route("/blobs/sha256/{digest}", put_blob, methods=["PUT"]),
    Route("/api/releases", get_releases),
    Route("/api/releases", post_release, methods=["POST"]),
    Route("/api/rollouts", get_rollouts),
    Route("/api/rollouts", post_rollout, methods=["POST"]),
    Route("/api/rollouts/{id}", get_rollout),
    Route("/api/rollouts/{id}/{verb}", post_verb, methods=["POST"]),
    Route("/api/tasks/{task}/rollback", post_rollback, methods=["POST"]),
    Route("/api/status", get_status),
    Route("/api/events", get_events),
]


# --- refusals ---------------------------------------------------------------------------------------------


def _refusal(code: int, error: str, reason: str, advice: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if code == 401 else None
    return JSONResponse({"error": error, "reason": reason, "next": advice}, status_code=code, headers=headers)


def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refusal(
        error.status_code, error.detail, "http", NEXT.get(error.status_code, "correct the request")
    )


def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _refusal(409 if error.known else 404, str(error), "refused", error.advice)


def _on_registry(_: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    return _refusal(STATUS_OF.get(error.reason, 400), str(error), error.reason, error.advice)


def _on_store(_: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    advice = "make room on the server's disk" if error.reason is Reason.DISK_FULL else "send the blob again"
    return _refusal(STATUS_OF.get(error.reason, 400), str(error), error.reason, advice)


def _on_policy(_: Request, error: Exception) -> Response:
    return _refusal(422, str(error), "bad_policy", "correct the values named")


def _on_database(_: Request, error: Exception) -> Response:
    text = f"the database refuses: {error}; nothing was changed"
    return _refusal(507, text, Reason.DISK_FULL, "make room on the server's disk")


def _on_gone(_: Request, __: Exception) -> Response:
    """The client left in the middle of its upload; nobody reads this."""
    return Response(status_code=400)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    HTTPException: _on_http,
    Refused: _on_refused,
    RegistryError: _on_registry,
    StoreError: _on_store,
    PolicyError: _on_policy,
    sqlite3.Error: _on_database,
    ClientDisconnect: _on_gone,
}

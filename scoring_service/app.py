"""create_app(settings): routes, lifespan, error handlers and what surrounds each request, in one view."""

import asyncio
import hmac
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scoring_service import endpoints, reference, tracing
from scoring_service.contract import REQUEST_ID_HEADER, VERSION_HEADER, ContractError, ErrorBody
from scoring_service.endpoints import Json
from scoring_service.errors import NotAuthorized, NotReady, ServiceError, status_of
from scoring_service.loading import RUNTIMES
from scoring_service.memory import Memory
from scoring_service.metrics import Metrics
from scoring_service.routing import Router
from scoring_service.settings import Settings

log = structlog.get_logger()

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")  # what the site lets through passes here too
OPEN_TO_ALL = ("/v2/health/", "/metrics")
CLIENT_GONE = 499  # nobody reads it; for logs and metrics, as nginx counts it


def create_app(settings: Settings, runtimes: Mapping[str, str] = RUNTIMES) -> Starlette:
    """The pod as an ASGI application. runtimes: names that manifests may use, each with the module that loads it."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(app.state.router.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await app.state.router.close()

    app = Starlette(
        routes=[*endpoints.ROUTES, *reference.ROUTES],
        lifespan=lifespan,
        middleware=[Middleware(Envelope, settings=settings, metrics=metrics)],
        exception_handlers={
            ServiceError: answer_service_error,
            ContractError: answer_contract_error,
            HTTPException: answer_http_error,
            ClientDisconnect: answer_nobody,
        },
    )
    app.state.settings = settings
    app.state.started_at = datetime.now(UTC)
    app.state.router = Router(settings, metrics, Memory(settings.memory), runtimes)
    app.state.stopping = False  # True from the first signal on: no longer ready, but every request is answered
    return app


# Errors ---------------------------------------------------------------------------------------------------------------


async def answer_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    status = status_of(error)
    if status == 500:
        log.error("scoring failed", reason=str(error), exc_info=error.__cause__ or error)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json(ErrorBody(str(error)), status_code=status, headers=headers)


async def answer_contract_error(request: Request, error: Exception) -> Response:
    return Json(ErrorBody(str(error)), status_code=400)


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not allowed here"}
    return Json(ErrorBody(said.get(error.status_code, error.detail)), error.status_code, headers=error.headers)


async def answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


# Around each request --------------------------------------------------------------------------------------------------


class Envelope:
    """Token, request id, log line, metrics, and the end of connections that have grown old."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        said = headers.get(REQUEST_ID_HEADER, "")
        request_id = said if REQUEST_ID.fullmatch(said) else uuid.uuid4().hex
        opened_at = scope.get("connection_opened_at", began)
        close = began - opened_at > self.settings.connection_age or scope["app"].state.stopping
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_headers = MutableHeaders(scope=message)
                answer_headers[REQUEST_ID_HEADER] = request_id
                if version := endpoints.version_noted(scope):
                    answer_headers[VERSION_HEADER] = version
                if close:
                    answer_headers["Connection"] = "close"
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            self.span(scope["path"], headers, request_id),
            self.metrics.in_flight.track_inprogress(),
        ):
            try:
                if self.may_pass(scope["path"], headers):
                    await self.app(scope, receive, send_with_headers)
                else:
                    refused = NotAuthorized("this pod wants its token: Authorization: Bearer …")
                    answer = await answer_service_error(Request(scope), refused)
                    await answer(scope, receive, send_with_headers)
            except asyncio.CancelledError:  # the time to drain is over
                if status:
                    raise
                answer = await answer_service_error(Request(scope), NotReady("the pod is shutting down"))
                await answer(scope, receive, send_with_headers)
            except Exception:
                log.exception("unexpected error")
                if status:
                    raise
                answer = Json(ErrorBody(f"internal error; the log has it under request id {request_id}"), 500)
                await answer(scope, receive, send_with_headers)
            self.note(scope, status, time.monotonic() - began)

    @staticmethod
    def span(path: str, headers: Headers, request_id: str) -> AbstractContextManager[None]:
        """The request's part of a trace; probes and scrapes are in none."""
        if path.startswith(OPEN_TO_ALL):
            return nullcontext()
        return tracing.request_span(headers.get(tracing.HEADER, ""), request_id)

    def may_pass(self, path: str, headers: Headers) -> bool:
        if not self.token or path.startswith(OPEN_TO_ALL):
            return True
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """One line in the log and one count in the metrics. The route names no more than our own table does."""
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.requests.labels(route, scope["method"] if route != "none" else "any", status).inc()
        self.metrics.duration.labels(route).observe(seconds)
        if not scope["path"].startswith(OPEN_TO_ALL):
            version = endpoints.version_noted(scope) or ""
            attributes = {"http.route": route, "http.response.status_code": status, "version": version}
            tracing.note(attributes, name=f"{scope['method']} {route}", failed=status >= 500)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 2),
                **({"version": version} if version else {}),
            )

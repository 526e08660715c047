"""create_app(settings): routes, lifespan, error handlers and what surrounds each request, in one view."""

import asyncio
import hmac
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Lifespan, Message, Receive, Scope, Send

from scoring_service import endpoints, reference, tracing
from scoring_service.contract import REQUEST_ID_HEADER, VERSION_HEADER, ContractError, ErrorBody
from scoring_service.endpoints import Json
from scoring_service.errors import NotAuthorized, NotReady, Overloaded, ServiceError, status_of
from scoring_service.loading import RUNTIMES, SCRIPTS
from scoring_service.logging import RequestLog
from scoring_service.memory import Memory
from scoring_service.metrics import Metrics
from scoring_service.processes import Room
from scoring_service.routing import Router
from scoring_service.settings import Settings
from scoring_service.siblings import Siblings

log = structlog.get_logger()

# Headers as they stand in a request's scope.
REQUEST_ID, VERSION, TRACE = (name.lower().encode() for name in (REQUEST_ID_HEADER, VERSION_HEADER, tracing.HEADER))
PLAIN = re.compile(rb"[A-Za-z0-9._:-]{1,100}")  # a request id as the site lets it through, too
OPEN_TO_ALL = ("/v2/health/", "/metrics")
CLIENT_GONE = 499  # nobody reads it; for logs and metrics, as nginx counts it
CLOSE = b"connection: close\r\n"
NO_SPAN = nullcontext()


def create_app(settings: Settings, runtimes: Mapping[str, str] = RUNTIMES, room: Room | None = None) -> "Pod":
    """The pod, or one process of it, as an ASGI application.

    runtimes: names that manifests may use, each with the module that loads it. room: None where the pod is one process.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Pod) -> AsyncIterator[None]:
        await app.state.siblings.listen()
        watching = asyncio.create_task(app.state.router.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await app.state.router.close()

    app = Pod(settings, metrics, lifespan)
    app.state.settings = settings
    app.state.started_at = datetime.now(UTC)
    memory = Memory(settings.memory, settings.processes)
    allowed = {**runtimes, **SCRIPTS} if settings.scoring_scripts else runtimes
    app.state.router = Router(settings, metrics, memory, allowed, when_ready=room.note_serving if room else None)
    app.state.siblings = Siblings(endpoints.own_answers(app), room)
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


ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    ServiceError: answer_service_error,
    ContractError: answer_contract_error,
    HTTPException: answer_http_error,
    ClientDisconnect: answer_nobody,
}


# Around each request --------------------------------------------------------------------------------------------------


class Pod(Starlette):
    """Puts around each request what all have: token, request id, log line, metrics, and the end of old connections.

    Inferences, nearly all requests there are, go straight to their endpoint: the way through Starlette's layers takes
    longer than many a model. Starlette routes all others.
    """

    def __init__(self, settings: Settings, metrics: Metrics, lifespan: Lifespan["Pod"]) -> None:
        super().__init__(
            routes=[*endpoints.ROUTES, *reference.ROUTES], exception_handlers={**ANSWERS}, lifespan=lifespan
        )
        self.settings = settings
        self.metrics = metrics
        self.token = settings.token.encode()
        self.request_log = RequestLog(settings.log_format)
        self.in_flight = 0
        self.waits_for: dict[
            Any, None
        ] = {}  # connections in which it is the client's turn, since the longest time first
        metrics.in_flight.set_function(lambda: self.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        began = time.monotonic()
        scope["app"] = self
        headers = scope["headers_by_name"] = dict(scope["headers"])
        said = headers.get(REQUEST_ID, b"")
        request_id = said if PLAIN.fullmatch(said) else secrets.token_hex(16).encode()
        # For all log lines of the request. Its task has a context of its own, so nothing needs to be taken back.
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        close = self.ends_connection(scope)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_headers = message["headers"]
                answer_headers.append((REQUEST_ID, request_id))
                if version := endpoints.version_noted(scope):
                    answer_headers.append((VERSION, version.encode()))
                if close:
                    answer_headers.append((b"connection", b"close"))
            await send(message)

        with self.span(scope["path"], headers, request_id):
            self.in_flight += 1
            try:
                if self.may_pass(scope["path"], headers):
                    await self.pass_on(scope, receive, send_with_headers)
                else:
                    raise NotAuthorized("this pod wants its token: Authorization: Bearer …")
            except NotAuthorized as error:
                answer = await answer_service_error(Request(scope), error)
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
                answer = Json(ErrorBody(f"internal error; the log has it under request id {request_id.decode()}"), 500)
                await answer(scope, receive, send_with_headers)
            finally:
                self.in_flight -= 1
            self.note(scope, status, time.monotonic() - began)

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not endpoints.is_inference(scope):
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            answer = await endpoints.infer(request)
        except tuple(ANSWERS) as error:
            answer = await next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)(request, error)
        await answer(scope, receive, send)

    @staticmethod
    def span(path: str, headers: Mapping[bytes, bytes], request_id: bytes) -> AbstractContextManager[None]:
        """The request's part of a trace; probes and scrapes are in none."""
        if not tracing.on() or path.startswith(OPEN_TO_ALL):
            return NO_SPAN
        return tracing.request_span(headers.get(TRACE, b"").decode("latin-1"), request_id.decode())

    @property
    def is_crowded(self) -> bool:
        """Whether there may be something to refuse."""
        router: Router = self.state.router
        return router.is_crowded

    def ends_connection(self, scope: Scope) -> bool:
        """Whether the connection shall end with the answer: it has grown old, or the pod is stopping."""
        opened_at: float = scope.get("connection_opened_at", math.inf)
        stopping: bool = self.state.stopping
        return stopping or time.monotonic() - opened_at > self.settings.connection_age

    def refusal(self, scope: Scope) -> Overloaded | None:
        """Why an inference of which only the head has been read is refused, unless it is of low priority.

        None while there is room for it, or where its body decides. Sets what `refused` wants to know.
        """
        scope["app"] = self
        headers = scope["headers_by_name"] = dict(scope["headers"])
        if tracing.on() or not endpoints.is_inference(scope) or not self.may_pass(scope["path"], headers):
            return None
        return endpoints.refusal_of(scope)

    def refused(self, scope: Scope, error: Overloaded, began: float, *, close: bool) -> bytes:
        """The whole answer to a request that was refused by its head; it is logged and counted as any other.

        began: when its head was there, on the monotonic clock. close: whether its connection ends.
        """
        said = scope["headers_by_name"].get(REQUEST_ID, b"")
        request_id = said if PLAIN.fullmatch(said) else secrets.token_hex(16).encode()
        body = msgspec.json.encode(ErrorBody(str(error)))
        version = endpoints.version_noted(scope) or ""
        seconds = time.monotonic() - began
        self.metrics.count_request(scope["route"].path, "POST", 503, seconds)
        milliseconds = round(seconds * 1000, 2)
        self.request_log.write("POST", scope["path"], 503, milliseconds, version, request_id=request_id.decode())
        return (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\ncontent-type: application/json\r\n"
            b"retry-after: %d\r\n%s: %s\r\n%s: %s\r\n%s\r\n%s"
            % (
                len(body),
                error.retry_after,
                REQUEST_ID,
                request_id,
                VERSION,
                version.encode(),
                CLOSE if close else b"",
                body,
            )
        )

    def may_pass(self, path: str, headers: Mapping[bytes, bytes]) -> bool:
        if not self.token or path.startswith(OPEN_TO_ALL):
            return True
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """One line in the log and one count in the metrics. The route names no more than our own table does."""
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.count_request(route, scope["method"] if route != "none" else "any", status, seconds)
        if scope["path"].startswith(OPEN_TO_ALL):
            return
        version = endpoints.version_noted(scope) or ""
        if tracing.on():
            attributes = {"http.route": route, "http.response.status_code": status, "version": version}
            tracing.note(attributes, name=f"{scope['method']} {route}", failed=status >= 500)
        self.request_log.write(scope["method"], scope["path"], status, round(seconds * 1000, 2), version)

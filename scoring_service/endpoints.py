"""The routes of the protocol: decode, ask the batcher, encode. Everything else happens behind them."""

import asyncio
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata as distribution
from typing import Any, TypeVar, TypeVarTuple

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from scoring_service import contract, tracing
from scoring_service.batching import Call, Totals
from scoring_service.contract import InferRequest, InferResponse
from scoring_service.errors import BadRequest, BadRow, DeadlineExpired, NotReady, Overloaded, TooLarge
from scoring_service.loading import Version
from scoring_service.routing import Router
from scoring_service.rows import all_good, row_named, rows_of, size_of, stack, wanted_outputs
from scoring_service.runtimes.base import Row, RowResult, TensorSpec
from scoring_service.settings import Settings
from scoring_service.siblings import (
    Question,
    Samples,
    Siblings,
    Tell,
    Together,
    samples_of,
    state_of_all,
    totals_of_all,
)

NAME = "scorepod"
JSON_LENGTH, DEADLINE = (name.lower().encode() for name in (contract.JSON_LENGTH_HEADER, contract.DEADLINE_HEADER))
EXTENSIONS = ["binary_tensor_data", "model_repository", "statistics"]
# Seconds a request waits before its connection is watched for a client that gives up: most are answered sooner.
WATCH_AFTER = 0.05
LONGEST_ROUTING_KEY = 200  # characters
# What is decoded and encoded on the event loop; more would keep the other requests waiting.
SMALL_BODY = 2**18  # bytes
SMALL_ANSWER = 2**14  # values of all outputs and rows

Values = TypeVarTuple("Values")
T = TypeVar("T")


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


@contract.studied
class IndexOptions(Struct):
    """What a client may say when it asks for the index. ready: only what can be asked."""

    ready: bool = False


def router_of(request: Request) -> Router:
    router: Router = request.app.state.router
    return router


def siblings_of(request: Request) -> Siblings:
    siblings: Siblings = request.app.state.siblings
    return siblings


def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def header(request: Request, name: bytes) -> str | None:
    """A header of the request; name: in lower case. Starlette's own way reads all headers for each."""
    value: bytes | None = request.scope["headers_by_name"].get(name)
    return None if value is None else value.decode("latin-1")


# Server and models ----------------------------------------------------------------------------------------------------


async def server(request: Request) -> Response:
    return Json(contract.ServerMetadata(NAME, program_version(), EXTENSIONS))


async def live(request: Request) -> Response:
    try:
        alive = all(await siblings_of(request).ask(Question("alive"), bool))
    except NotReady as error:  # a new pod is better than one of which a part hangs
        return Json({"live": False, "reason": str(error)}, status_code=503)
    return Json({"live": alive}, status_code=200 if alive else 503)


async def ready(request: Request) -> Response:
    try:
        state = await state_of_pod(request)
    except NotReady as error:
        return Json({"ready": False, "reason": str(error)}, status_code=503)
    return Json({"ready": state.ready, "reason": state.reason}, status_code=200 if state.ready else 503)


async def pod(request: Request) -> Response:
    """What this pod serves, for those who want to know it of each pod behind the service's one address."""
    return Json(await state_of_pod(request))


async def state_of_pod(request: Request) -> contract.PodState:
    return state_of_all(await siblings_of(request).ask(Question("state"), contract.PodState))


async def model(request: Request) -> Response:
    version = asked_version(request)
    manifest, signature = version.manifest, version.runtime.signature
    others = [name for of_model, name in router_of(request).loaded if of_model == manifest.model]
    return Json(
        contract.ModelMetadata(
            name=manifest.model,
            versions=[manifest.version, *sorted({*others} - {manifest.version})],
            platform=manifest.runtime,
            inputs=[tensor_metadata(spec) for spec in signature.inputs],
            outputs=[tensor_metadata(spec) for spec in signature.outputs],
            parameters={
                **manifest.parameters,
                **version.runtime.parameters,
                "kind": manifest.kind,
                "title": manifest.title,
                "description": manifest.description,
                "sample": manifest.sample,
                "created_at": manifest.created_at,
                "metrics": manifest.metrics,
            },
        )
    )


async def model_ready(request: Request) -> Response:
    version = asked_version(request)
    return Json({"name": version.manifest.model, "version": version.manifest.version, "ready": True})


async def model_statistics(request: Request) -> Response:
    """Statistics in the form of Triton's extension; durations in nanoseconds."""
    version = asked_version(request)
    question = Question("totals", version.manifest.model, version.manifest.version)
    totals = totals_of_all(await siblings_of(request).ask(question, Totals))

    def duration(count: int, seconds: float) -> dict[str, int]:
        return {"count": count, "ns": int(seconds * 1e9)}

    statistics = {
        "name": version.manifest.model,
        "version": version.manifest.version,
        "inference_count": totals.rows,
        "execution_count": totals.batches,
        "inference_stats": {
            "success": duration(totals.rows - totals.bad_rows, totals.queue_seconds + totals.model_seconds),
            "fail": duration(totals.bad_rows + totals.failed_rows, 0),
            "queue": duration(totals.rows, totals.queue_seconds),
            "compute_infer": duration(totals.batches, totals.model_seconds),
        },
    }
    return Json({"model_stats": [statistics]})


async def index(request: Request) -> Response:
    body = await read_body(request, expiry(request))
    if body.strip():
        options = await aside(contract.decode_json, body, IndexOptions, large=len(body) > SMALL_BODY)
    else:
        options = IndexOptions()
    state = await state_of_pod(request)
    entries = [
        contract.IndexEntry(name=v.model, version=v.version, state=v.state, reason=v.reason) for v in state.versions
    ]
    return Json([entry for entry in entries if entry.state == "READY" or not options.ready])


async def metrics(request: Request) -> Response:
    told = await siblings_of(request).ask(Question("samples"), list[Samples])
    return Response(Together(told).text(), media_type="text/plain; version=0.0.4")


def own_answers(app: Starlette) -> Tell:
    """What this process tells its siblings, and of itself."""

    def tell(question: Question) -> Any:
        router: Router = app.state.router
        match question.what:
            case "alive":
                return not router.device_lost
            case "state":
                return own_state(app)
            case "totals":
                version = router.loaded.get((question.model, question.version))
                return version.batcher.totals if version else Totals()
            case "samples":
                return own_samples(app)
        raise ValueError(f"there is no answer to {question.what!r}")

    return tell


def own_state(app: Starlette) -> contract.PodState:
    router: Router = app.state.router
    settings: Settings = app.state.settings
    reason = "the pod is shutting down" if app.state.stopping else router.not_ready_because()
    return contract.PodState(
        pod=f"{platform.node()}:{settings.port}",
        pool=settings.pool,
        ready=not reason,
        reason=reason,
        started_at=app.state.started_at.isoformat(timespec="milliseconds"),
        device=router.device,
        memory=router.memory.used(),
        memory_limit=router.memory.limit,
        store_problem=router.store_problem,
        versions=router.versions(),
    )


def own_samples(app: Starlette) -> list[Samples]:
    router: Router = app.state.router
    state = own_state(app)
    router.metrics.note_state(
        ready=state.ready,
        store_readable=not state.store_problem,
        unusable=[(each.model, each.version) for each in state.versions if each.state == "UNAVAILABLE"],
        memory=state.memory,
        memory_limit=state.memory_limit,
    )
    return samples_of(router.metrics.registry.collect())


def asked_version(request: Request) -> Version:
    return router_of(request).version_for(request.path_params["model"], request.path_params.get("version"))


def drawn_version(request: Request, model: str, routing_key: str | None = None) -> Version:
    """The version for a request that names none. The answer's header will tell which it was, be it an error or not."""
    return noted(request, router_of(request).drawn_version(model, routing_key))


def noted(request: Request, version: Version) -> Version:
    request.state.model_version = version.manifest.version
    return version


def version_noted(scope: Scope) -> str | None:
    """The version that a request of this scope was given to, if it came so far."""
    version: str | None = scope.get("state", {}).get("model_version")
    return version


def tensor_metadata(spec: TensorSpec) -> contract.TensorMetadata:
    parameters = {"json": spec.encoding, "optional": spec.optional} if spec.datatype == "BYTES" else {}
    return contract.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=list(spec.shape), parameters=parameters
    )


# Inference ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Handling:
    """What a request's parameters say to the pod, not to the model (contract.py)."""

    routing_key: str | None
    low: bool  # priority
    row_errors: bool

    @classmethod
    def taken_out_of(cls, parameters: dict[str, Any]) -> "Handling":
        """Removes from the parameters what is not the model's. Raises BadRequest."""
        routing_key = parameters.pop("routing_key", None)
        if routing_key is not None and not (isinstance(routing_key, str) and len(routing_key) <= LONGEST_ROUTING_KEY):
            raise BadRequest(f"parameter routing_key must be text of at most {LONGEST_ROUTING_KEY} characters")
        priority = parameters.pop("priority", 0)
        if type(priority) is not int or priority < 0:
            raise BadRequest("parameter priority must be a whole number: 0 (as usual), 1 (highest), 2 or more (lower)")
        row_errors = parameters.pop("row_errors", False)
        if not isinstance(row_errors, bool):
            raise BadRequest("parameter row_errors must be true or false")
        return cls(routing_key, priority >= contract.LOW_PRIORITY, row_errors)


async def infer(request: Request) -> Response:
    expires_at = expiry(request)
    body = await read_body(request, expires_at)
    json_length = header(request, JSON_LENGTH)
    if (refusal := refusal_of(request.scope)) and not may_be_low(body, json_length):
        raise refusal
    large = len(body) > SMALL_BODY
    asked = await aside(decoded_request, body, json_length, large=large)
    handling = Handling.taken_out_of(asked.parameters)
    version, outputs, rows = await prepare(request, asked, handling, large=large)
    readable = [row for row in rows if isinstance(row, Row)]
    results, times = await score(request, version, readable, expires_at, low=handling.low)
    outcomes = in_order(rows, results)
    told: dict[str, Any] = {**times}
    if handling.row_errors:
        scored, reasons = apart(outcomes)
        told["row_errors"] = contract.row_errors_parameter(reasons)
    else:
        scored = all_good(outcomes, row_named(asked.inputs[0].name))
    values = sum(size_of(result[spec.name]) for spec in outputs for result in scored)
    return await aside(infer_answer, asked, version, outputs, scored, told, large=values > SMALL_ANSWER)


def decoded_request(body: bytes, json_length: str | None) -> InferRequest:
    return contract.decode_request(body, json_length, packed=True)


def is_inference(scope: Scope) -> bool:
    """Whether the request is one for `infer`. Then the scope has route and path_params, as Starlette gives them."""
    match scope["path"].split("/"):
        case ["", "v2", "models", model, "infer"]:
            route, path_params = INFER, {"model": model}
        case ["", "v2", "models", model, "versions", version, "infer"]:
            route, path_params = INFER_VERSION, {"model": model, "version": version}
        case _:
            return False
    if scope["method"] != "POST" or not all(path_params.values()):
        return False
    scope.update(route=route, path_params=path_params)
    return True


def refusal_of(scope: Scope) -> Overloaded | None:
    """Why an inference is refused, unless it is of low priority; None while there is room, or its body decides."""
    router: Router = scope["app"].state.router
    refusing = router.refusing(**scope["path_params"])
    if not refusing:
        return None
    version, refusal = refusing
    scope["state"]["model_version"] = version.manifest.version
    return refusal


def may_be_low(body: bytes | bytearray, json_length: str | None) -> bool:
    """Whether what is there of the body may say that its rows are of low priority; it is not decoded for that."""
    length = int(json_length) if json_length and json_length.isdecimal() else len(body)
    return body.find(b'"priority"', 0, length) >= 0


async def prepare(
    request: Request, asked: InferRequest, handling: Handling, *, large: bool
) -> tuple[Version, Sequence[TensorSpec], Sequence[Row | BadRow]]:
    """The version that answers now, the outputs and the rows for it.

    Once more when another version has taken over while large rows were read: the one it replaced takes nothing more.
    """
    while True:
        if "version" in request.path_params:
            version = noted(request, asked_version(request))
        else:
            version = drawn_version(request, request.path_params["model"], handling.routing_key)
        signature = version.runtime.signature
        outputs = wanted_outputs(asked, signature)
        rows = await aside(rows_of, asked, signature, outputs, handling.row_errors, large=large)
        if version.batcher.takes_more:
            return version, outputs, rows


def infer_answer(
    asked: InferRequest,
    version: Version,
    outputs: Sequence[TensorSpec],
    scored: Sequence[RowResult],
    told: dict[str, Any],
) -> Response:
    """The rows' results as the protocol has them. told: more parameters of the answer.

    Raises WrongAnswer when the rows are not of one length.
    """
    answer = InferResponse(
        model_name=version.manifest.model,
        model_version=version.manifest.version,
        id=asked.id,
        parameters={**version.runtime.parameters, **told},
        outputs=[stack(spec, [result[spec.name] for result in scored]) for spec in outputs],
    )
    encoded, headers = contract.encode_response(
        answer, binary=[spec.name for spec in outputs if asked.wants_binary(spec.name)]
    )
    return Response(encoded, headers=headers)


async def score(
    request: Request, version: Version, rows: Sequence[Row], expires_at: float, *, low: bool = False
) -> tuple[list[RowResult | BadRow], dict[str, float]]:
    """The rows' results in their order, and how long they waited and took, in milliseconds. low: after all others.

    Raises DeadlineExpired at `expires_at` (monotonic clock), ClientDisconnect when the client has gone; either way the
    rows that are still queued are not scored.
    """
    call = version.batcher.submit(rows, expires_at, low=low)
    patience = Patience(request, call, expires_at)
    try:
        results = await call.future
    finally:
        call.future.cancel()
        patience.end()
    times = {"queue_ms": round(call.queue_seconds * 1000, 3), "model_ms": round(call.model_seconds * 1000, 3)}
    if tracing.on():
        tracing.note({"rows": len(rows), "model": version.manifest.model, **times})
    return results, times


class Patience:
    """Ends the wait for a call when its deadline passes or its client leaves.

    Most calls end sooner than anybody is looked for.
    """

    def __init__(self, request: Request, call: Call, expires_at: float) -> None:
        """expires_at: on the monotonic clock."""
        self.request = request
        self.call = call
        self.expires_at = expires_at
        self.watcher: asyncio.Future[Any] | None = None
        self.loop = asyncio.get_running_loop()
        left = expires_at - time.monotonic()
        self.timer = self.loop.call_later(min(WATCH_AFTER, left), self.expire if left <= WATCH_AFTER else self.watch)

    def watch(self) -> None:
        self.watcher = asyncio.ensure_future(self.request.receive())
        self.watcher.add_done_callback(lambda _: self.fail(ClientDisconnect()))
        self.timer = self.loop.call_later(self.expires_at - time.monotonic(), self.expire)

    def expire(self) -> None:
        self.fail(DeadlineExpired("the deadline passed before the answer was there"))

    def fail(self, error: Exception) -> None:
        if not self.call.future.done():
            self.call.future.set_exception(error)

    def end(self) -> None:
        self.timer.cancel()
        if self.watcher:
            self.watcher.cancel()


def in_order(rows: Sequence[Row | BadRow], results: Sequence[RowResult | BadRow]) -> list[RowResult | BadRow]:
    """What became of each row, when those that could be read have these results."""
    scored = iter(results)
    return [row if isinstance(row, BadRow) else next(scored) for row in rows]


def apart(outcomes: Sequence[RowResult | BadRow]) -> tuple[list[RowResult], dict[int, str]]:
    """The good rows' results, and why the others have none, by number."""
    scored, reasons = [], {}
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, BadRow):
            reasons[number] = str(outcome)
        else:
            scored.append(outcome)
    return scored, reasons


# What came in ---------------------------------------------------------------------------------------------------------


def expiry(request: Request) -> float:
    """When the client stops waiting, on the monotonic clock: as it says, at the latest after our default.

    Raises BadRequest when what it says makes no sense.
    """
    said = header(request, DEADLINE)
    seconds = settings_of(request).default_deadline
    if said is not None:
        if not (said.isascii() and said.isdecimal() and len(said) < 12):
            raise BadRequest(f"{contract.DEADLINE_HEADER} must be a whole number of milliseconds")
        seconds = min(int(said) / 1000, seconds)
    return time.monotonic() + seconds


async def aside(work: Callable[[*Values], T], *args: *Values, large: bool) -> T:
    """The work's result; large work is done in another thread, so that the event loop goes on meanwhile."""
    return await asyncio.to_thread(work, *args) if large else work(*args)


async def read_body(request: Request, expires_at: float) -> bytes:
    """The body, at most as long as the settings allow.

    Raises TooLarge as soon as it is known to be longer, DeadlineExpired when it does not come in time.
    """
    limit = settings_of(request).max_body
    if (header(request, b"content-encoding") or "identity").lower() != "identity":
        raise BadRequest("a compressed body is not understood here; send it without Content-Encoding")
    if int(header(request, b"content-length") or 0) > limit:  # a number: else the server had refused it
        raise too_large(limit)
    if request.scope.get("body_is_here"):  # so there is nothing to wait for
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body: bytes = message["body"]
        if len(body) > limit:
            raise too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(expires_at - time.monotonic()):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large(limit)
                parts.append(part)
    except TimeoutError as error:
        raise DeadlineExpired("the deadline passed before the whole body was there") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit // 2**20} MB")


def program_version() -> str:
    try:
        return distribution.version(NAME)
    except distribution.PackageNotFoundError:  # run from its folder, not installed
        return "0.1.0"


INFER = Route("/v2/models/{model}/infer", infer, methods=["POST"])
INFER_VERSION = Route("/v2/models/{model}/versions/{version}/infer", infer, methods=["POST"])
ROUTES = [
    Route("/v2", server),
    Route("/v2/pod", pod),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/models/{model}", model),
    Route("/v2/models/{model}/ready", model_ready),
    Route("/v2/models/{model}/stats", model_statistics),
    INFER,
    Route("/v2/models/{model}/versions/{version}", model),
    Route("/v2/models/{model}/versions/{version}/ready", model_ready),
    Route("/v2/models/{model}/versions/{version}/stats", model_statistics),
    INFER_VERSION,
    Route("/v2/repository/index", index, methods=["POST"]),
    Route("/metrics", metrics),
]

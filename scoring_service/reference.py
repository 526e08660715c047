"""`/score`, the one address that clients of the reference architecture call: questions, pictures, GET."""

import asyncio
import platform
import time
import uuid
from collections.abc import AsyncGenerator

from msgspec import Struct
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scoring_service import contract
from scoring_service.endpoints import (
    SMALL_ANSWER,
    SMALL_BODY,
    Json,
    aside,
    drawn_version,
    expiry,
    program_version,
    read_body,
    router_of,
    score,
    settings_of,
)
from scoring_service.errors import BadRequest
from scoring_service.rows import all_good
from scoring_service.runtimes.base import Row, RowResult

POD_ID = uuid.uuid4().hex
TOP_K = 3  # categories for each picture


@contract.studied
class Asked(Struct):
    """A question as the reference's clients send it. Whatever else they send is passed over unread."""

    input: str


async def describe(request: Request) -> Response:
    """GET /score: who answers here."""
    settings = settings_of(request)
    return Json(
        {
            "azEnvironment": settings.environment,
            "location": settings.location,
            "osType": platform.system(),
            "isServer": True,
            "version": program_version(),
            "uniqueId": POD_ID,
        }
    )


async def by_method(request: Request) -> Response:
    """One route for all methods, so that the answer to any other names them all."""
    return await (score_any if request.method == "POST" else describe)(request)


async def score_any(request: Request) -> Response:
    """POST /score: a question as JSON, or pictures as multipart parts of any names."""
    expires_at = expiry(request)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = await read_body(request, expires_at)
    if kind == "multipart/form-data":
        return await score_pictures(request, body, expires_at)
    return await score_question(request, body, expires_at)


async def score_question(request: Request, body: bytes, expires_at: float) -> Response:
    try:
        asked = await aside(contract.decode_json, body, Asked, large=len(body) > SMALL_BODY)
    except contract.ContractError as error:
        wanted = 'send JSON such as {"input": "your question"}, or pictures as multipart/form-data'
        raise BadRequest(f"{wanted}: {error}") from error
    version = drawn_version(request, router_of(request).default_model("faq"))
    row = Row((asked.input,), {"top_k": 0}, frozenset({"answer_id"}))
    results, _ = await score(request, version, [row], expires_at)
    [result] = all_good(results, lambda _: "input")
    return await aside(ranking, result, large=len(result["faq_id"]) > SMALL_ANSWER)


def ranking(result: RowResult) -> Response:
    return Json(list(zip(result["faq_id"], result["answer_id"], result["probability"], strict=True)))


async def score_pictures(request: Request, body: bytes, expires_at: float) -> Response:
    if len(body) > SMALL_BODY:
        # The parser is a coroutine that never waits: the body is here. It needs a loop all the same.
        files = await asyncio.to_thread(lambda: asyncio.run(files_of(request.headers, body)))
    else:
        files = await files_of(request.headers, body)
    if not files:
        raise BadRequest("no part of the form is a file; send each picture as a part with a file name")
    version = drawn_version(request, router_of(request).default_model("image"))
    began = time.monotonic()
    rows = [Row((data,), {"top_k": TOP_K}) for data in files.values()]
    results, _ = await score(request, version, rows, expires_at)
    milliseconds = (time.monotonic() - began) * 1000
    names = list(files)
    answer = {
        name: list(zip(result["label_id"], result["label"], result["probability"], strict=True))
        for name, result in zip(names, all_good(results, lambda number: names[number]), strict=True)
    }
    return Json([answer, f"Computed in {milliseconds:.2f} ms"])


class InMemoryParser(MultiPartParser):
    """Keeps files in memory, where the body is already: a pod may have no folder it can write to."""

    spool_max_size = 2**62


async def files_of(headers: Headers, body: bytes) -> dict[str, bytes]:
    """Part name to content. A name that comes again gets a number: picture, picture#2."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await InMemoryParser(headers, stream()).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BadRequest(f"the multipart body cannot be read: {error}") from error
    files: dict[str, bytes] = {}
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            unique, times = name, 1
            while unique in files:
                times += 1
                unique = f"{name}#{times}"
            files[unique] = await part.read()
    return files


ROUTES = [Route("/score", by_method, methods=["GET", "POST"])]

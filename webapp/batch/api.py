"""Batches for programs: send many rows at once, look how far they are, fetch what came of them."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.functional import cached_property
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from webapp.batch import exports, queries, services, uploads
from webapp.batch.files import StoredUpload
from webapp.batch.models import Job
from webapp.batch.results import Which
from webapp.batch.serializers import (
    BatchAskSerializer,
    BatchesAskSerializer,
    BatchesSerializer,
    BatchFormSerializer,
    BatchSerializer,
    address_of,
)
from webapp.batch.services import Options
from webapp.bodies import length_of
from webapp.errors import Conflict, FilesError, InvalidInput, NotAllowed, NotFound, UnsupportedMedia
from webapp.faq.api import MatchView
from webapp.faq.serializers import MatchAskSerializer
from webapp.images.api import ClassifyView
from webapp.images.checks import Upload
from webapp.images.serializers import ClassifyAskSerializer
from webapp.images.uploads import uploads_in
from webapp.keys import idempotency
from webapp.keys.api import ApiRequest, ApiView, in_path, page_answer, parse
from webapp.keys.models import Scope
from webapp.usage.feedback import numbered

F = TypeVar("F", bound=Callable[..., Any])
JSON_LINES = ("application/jsonl", "application/x-ndjson")
# What may be sent as it is, without a form around it, and how the file is then called.
RAW = {
    **dict.fromkeys(JSON_LINES, "questions.jsonl"),
    "text/csv": "questions.csv",
    "text/tab-separated-values": "questions.tsv",
    "text/plain": "questions.txt",
    "application/zip": "pictures.zip",
    exports.FORMATS["xlsx"]: "questions.xlsx",
}
LINES_EXAMPLE = "\n".join(
    json.dumps({"custom_id": f"ticket-{number}", "question": question})
    for number, question in enumerate(["how do I copy an array", "what is a closure"], start=1)
)
EXAMPLE_ID = "5f0c2c5e-3f0e-4d8e-9a57-5b7c6c5d9a10"
EXAMPLE_ADDRESS = f"/api/v1/batches/{EXAMPLE_ID}"
EXAMPLE = OpenApiExample(
    "At work",
    value={
        "id": EXAMPLE_ID,
        "object": "batch",
        "status": "in_progress",
        "kind": "faq",
        "name": "questions.csv",
        "metadata": {"ticket": "4711"},
        "model": "faq-javascript",
        "version": None,
        "collection": "javascript",
        "top_k": 5,
        "request_counts": {"total": 1000, "completed": 397, "failed": 3},
        "progress": {"rows_per_second": 80.0, "seconds_left": 7.5},
        "created_at": "2026-12-01T08:00:00Z",
        "in_progress_at": "2026-12-01T08:00:01Z",
        **dict.fromkeys(("finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at")),
        "expires_at": "2026-12-02T08:00:00Z",
        "results_kept_until": None,
        "errors": [],
        "retry_of": None,
        "urls": {
            "self": EXAMPLE_ADDRESS,
            **{name: f"{EXAMPLE_ADDRESS}/{name}" for name in ("cancel", "retry", "results", "errors")},
        },
    },
    response_only=True,
)
OF_THE_PATH = in_path("batch_id", uuid.UUID, "The `id` of the batch.", EXAMPLE_ID)
# Where a client may go from an answer that holds a batch.
NEXT = {
    "batch": {"operationId": "batch", "parameters": {"batch_id": "$response.body#/id"}},
    "cancel": {"operationId": "batch_cancel", "parameters": {"batch_id": "$response.body#/id"}},
    "results": {"operationId": "batch_results", "parameters": {"batch_id": "$response.body#/id"}},
    "errors": {"operationId": "batch_errors", "parameters": {"batch_id": "$response.body#/id"}},
    "retry": {"operationId": "batch_retry", "parameters": {"batch_id": "$response.body#/id"}},
    "delete": {"operationId": "batch_delete", "parameters": {"batch_id": "$response.body#/id"}},
}
FIRST = {
    "first": {"operationId": "batch", "parameters": {"batch_id": "$response.body#/data/0/id"}},
    "next": {"operationId": "batches", "parameters": {"cursor": "$response.body#/next_cursor"}},
}


def accepted(job: Job, **headers: str) -> Response:
    """202 with the batch, and in `Location` where it will be found."""
    return Response(BatchSerializer(job).data, 202, headers={"Location": address_of(job), **headers})


def job_of(request: ApiRequest, batch_id: uuid.UUID) -> Job:
    """The batch, if it is the caller's. Raises NotFound, also for what only waits on a page to be started."""
    job = queries.job_of(request.auth_principal.user, batch_id)
    if job.state == Job.State.DRAFT:
        raise NotFound("There is no such batch.")
    return job


class BatchesView(ApiView):
    required_scope = Scope.BATCH.value
    idempotent = True
    also_raises = (NotFound, Conflict, FilesError, InvalidInput)
    parser_classes = [MultiPartParser]
    links = {"get": FIRST, "post": NEXT}
    _raw: StoredUpload | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuses an upload without room for it before it is read; not one that may be sent for the second time."""
        super().initial(request, *args, **kwargs)
        user = self.request.auth_principal.user
        uploads.sent_by(request._request, user)
        if request.method == "POST" and idempotency.HEADER not in request.headers:
            services.require_room(user, length_of(request.META.get("CONTENT_LENGTH")))

    @extend_schema(
        operation_id="batches",
        tags=["Batches"],
        summary="List your batches",
        description=(
            "The newest first, a page at a time: yours, and those of the service accounts that you are responsible for."
        ),
        parameters=[BatchesAskSerializer],
        responses={200: BatchesSerializer},
    )
    def get(self, request: ApiRequest) -> Response:
        ask = self.wishes(BatchesAskSerializer)
        found = queries.jobs_of(
            request.auth_principal.user,
            state=ask.get("status"),
            kind=ask.get("kind"),
            cursor=ask.get("cursor"),
            limit=ask["limit"],
        )
        return page_answer(request, found, BatchesSerializer)

    @extend_schema(
        operation_id="batch_create",
        tags=["Batches"],
        summary="Score many questions or pictures",
        description=(
            "Send a form with a `file` (CSV, TSV, JSONL, XLSX or TXT with questions, a ZIP of pictures) or several "
            "pictures as `files`; or JSON lines as the body, each with a `question` and, if you like, a `custom_id` "
            "that comes back with its result. Rows are checked and scored in the background: ask for the batch under "
            "the address in `Location`, or have a webhook tell you."
        ),
        parameters=[BatchAskSerializer],
        request={
            "multipart/form-data": BatchFormSerializer,
            **{
                kind: OpenApiRequest(
                    OpenApiTypes.STR, examples=[OpenApiExample("Two questions", value=LINES_EXAMPLE, request_only=True)]
                )
                for kind in JSON_LINES
            },
            "text/csv": OpenApiTypes.STR,
        },
        responses={202: BatchSerializer},
        examples=[EXAMPLE],
    )
    def post(self, _request: ApiRequest) -> Response:
        return accepted(services.take(self._planned, self._upload()))

    def prepare(self) -> None:
        _ = self._planned

    @cached_property
    def _planned(self) -> Job:
        ask = parse(BatchAskSerializer, self._fields())
        return services.planned(
            self.request.auth_principal,
            upload=self._upload(),
            options=ask.options(),
            name=ask.validated_data.get("name", ""),
            metadata=ask.validated_data.get("metadata"),
        )

    def asked(self) -> Iterator[Any]:
        upload = self._upload()
        yield self._fields()
        yield [upload.name, upload.size, upload.digest]

    def _fields(self) -> dict[str, str]:
        """What was sent beside the upload: in the address, and in the form, which counts more."""
        form = self.request.POST.dict() if self._is_form() else {}
        return {**self.request.query_params.dict(), **form}

    def _upload(self) -> StoredUpload:
        """The upload, which is on the disk by then. Raises UnsupportedMedia, InvalidInput, TooLarge or FilesError."""
        if self._is_form():
            _ = self.request.POST  # DRF reads the form
            return uploads.upload_of(self.request._request)
        if self._raw is None:
            name = RAW.get(_media_type(self.request))
            if name is None:
                raise UnsupportedMedia("Send a form with the file, or JSON lines as `application/jsonl`.")
            self._raw = uploads.store_body(self.request._request, name)
        return self._raw

    def _is_form(self) -> bool:
        return _media_type(self.request) == MultiPartParser.media_type

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if self._raw is not None:
            uploads.discard(self._raw)  # unless a batch has taken it
        if response.status_code >= 400 and "_planned" in vars(self):
            services.clear_up(self._planned)
        return super().finalize_response(request, response, *args, **kwargs)


class BatchView(ApiView):
    required_scope = Scope.BATCH.value
    etagged = True
    also_raises = (NotFound, Conflict)
    links = {"get": NEXT}

    @extend_schema(
        operation_id="batch",
        tags=["Batches"],
        summary="See how far a batch is",
        description="Its status, how many rows are done, and how long the rest may take.",
        parameters=[OF_THE_PATH],
        responses={200: BatchSerializer},
        examples=[EXAMPLE],
    )
    def get(self, request: ApiRequest, batch_id: uuid.UUID) -> Response:
        return Response(BatchSerializer(job_of(request, batch_id)).data)

    @extend_schema(
        operation_id="batch_delete",
        tags=["Batches"],
        summary="Delete a batch",
        description="With its upload and its results. One that is still at work must be cancelled first.",
        parameters=[OF_THE_PATH],
        responses={204: None},
    )
    def delete(self, request: ApiRequest, batch_id: uuid.UUID) -> Response:
        services.delete(job_of(request, batch_id))
        return Response(status=204)


class CancelView(ApiView):
    required_scope = Scope.BATCH.value
    also_raises = (NotFound, Conflict)
    links = {"post": NEXT}

    @extend_schema(
        operation_id="batch_cancel",
        tags=["Batches"],
        summary="Cancel a batch",
        description="Nothing more of it is begun; what is scored stays. To cancel it again does no harm.",
        parameters=[OF_THE_PATH],
        request=None,
        responses={200: BatchSerializer},
        examples=[EXAMPLE],
    )
    def post(self, request: ApiRequest, batch_id: uuid.UUID) -> Response:
        return Response(BatchSerializer(services.cancel(job_of(request, batch_id))).data)


class RetryView(ApiView):
    required_scope = Scope.BATCH.value
    idempotent = True
    also_raises = (NotFound, Conflict, FilesError)
    links = {"post": NEXT}

    @extend_schema(
        operation_id="batch_retry",
        tags=["Batches"],
        summary="Try the failed rows of a batch again",
        description=(
            "Makes a new batch of the rows that failed in scoring or were never scored, not of those refused when the "
            "file was read. A row keeps its `id`; one without has its `row` as its `id`."
        ),
        parameters=[OF_THE_PATH],
        request=None,
        responses={202: BatchSerializer},
        examples=[EXAMPLE],
    )
    def post(self, request: ApiRequest, batch_id: uuid.UUID) -> Response:
        return accepted(services.retry_failed(job_of(request, batch_id), request.auth_principal))


class AnyForm(BaseContentNegotiation):
    """Downloads come in the form that the address names, whatever the Accept header says; their problems as JSON."""

    def select_parser(self, _request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, _request: Request, renderers: Iterable[BaseRenderer], _format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type


def download(which: Which, description: str) -> Callable[[F], F]:
    """Says of a view's `get` what it lets one fetch."""
    form = OpenApiParameter(
        "format",
        {"type": "string", "enum": list(exports.FORMATS), "default": "jsonl"},
        description="JSON lines, a table, or a workbook. A worker makes the workbook first: until then, 409.",
    )
    kinds = {kind.partition(";")[0]: OpenApiTypes.STR for kind in exports.FORMATS.values()}
    kinds[exports.FORMATS["xlsx"]] = OpenApiTypes.BINARY
    decorate: Callable[[F], F] = extend_schema(
        operation_id=f"batch_{which}",
        tags=["Batches"],
        summary=f"Fetch the {which} of a batch",
        description=description,
        parameters=[OF_THE_PATH, form],
        responses={(200, kind): each for kind, each in kinds.items()},
    )
    return decorate


class DownloadView(ApiView):
    required_scope = Scope.BATCH.value
    content_negotiation_class = AnyForm
    also_raises = (NotFound, Conflict, InvalidInput, FilesError)

    def fetch(self, batch_id: uuid.UUID, which: Which) -> HttpResponseBase:
        return exports.download(job_of(self.request, batch_id), which, self.request.query_params.get("format", "jsonl"))


class ResultsView(DownloadView):
    @download(
        "results",
        "Every row in the order it was sent in: `row` (from 1), `id` (your `custom_id`), the `question` or `file`, "
        "`version`, `answers` (the best first) and `error`. Of a batch that ended early, the rows that were scored.",
    )
    def get(self, _request: ApiRequest, batch_id: uuid.UUID) -> HttpResponseBase:
        return self.fetch(batch_id, "results")


class ErrorsView(DownloadView):
    @download("errors", "Only the rows that have no answers, each with the reason in `error`.")
    def get(self, _request: ApiRequest, batch_id: uuid.UUID) -> HttpResponseBase:
        return self.fetch(batch_id, "errors")


def _media_type(request: Request) -> str:
    return (request.content_type or "").partition(";")[0].strip().lower()


# Prefer: respond-async ------------------------------------------------------------------------------------------------


class LaterView(ApiView):
    """A scoring call that may be answered later (RFC 7240): with `Prefer: respond-async` it makes a batch."""

    idempotent = True
    later_answer = BatchSerializer
    links = {"post": NEXT}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.creates():
            vars(self)["post"] = self.post_later
        super().initial(request, *args, **kwargs)

    def creates(self) -> bool:
        return self.request.method == "POST" and prefers_later(self.request)

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if self.creates() and Scope.BATCH.value not in self.request.auth_principal.scopes:
            raise NotAllowed(f"`Prefer: respond-async` also needs a key with the scope `{Scope.BATCH.value}`.")

    def post_later(self, _request: ApiRequest) -> Response:
        job, upload = self._planned
        try:
            services.take(job, upload)
        finally:
            uploads.discard(upload)  # unless the batch has taken it
        return accepted(job, **{"Preference-Applied": "respond-async"})

    def prepare(self) -> None:
        _ = self._planned

    @cached_property
    def _planned(self) -> tuple[Job, StoredUpload]:
        upload, options, name = self.as_upload(self.request)
        try:
            return services.planned(self.request.auth_principal, upload=upload, options=options, name=name), upload
        except BaseException:
            uploads.discard(upload)
            raise

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if response.status_code >= 400 and "_planned" in vars(self):
            services.clear_up(self._planned[0])
        final = super().finalize_response(request, response, *args, **kwargs)
        patch_vary_headers(final, ["Prefer"])
        return final

    def as_upload(self, request: ApiRequest) -> tuple[StoredUpload, Options, str]:
        """What was asked as an upload, how it is to be scored, and what people shall call it."""
        raise NotImplementedError


class MatchOrLaterView(LaterView, MatchView):
    also_raises = (*MatchView.also_raises, Conflict, FilesError)

    def as_upload(self, request: ApiRequest) -> tuple[StoredUpload, Options, str]:
        ask = parse(MatchAskSerializer, request.data).ask(request.auth_principal.user)
        for field, asked in (("explain", ask.explain), ("min_probability", ask.min_probability)):
            if asked:
                raise InvalidInput("The results of batches have no such thing; leave it out.", field=field)
        upload = uploads.store_stream([json.dumps({"question": ask.question}).encode()], "question.jsonl")
        options = Options(
            kind=Job.Kind.FAQ.value,
            collection=ask.collection.slug,
            version=ask.version,
            top_k=ask.top_k,
            column="question",
        )
        return upload, options, ask.question


class ClassifyOrLaterView(LaterView, ClassifyView):
    also_raises = (*ClassifyView.also_raises, Conflict, FilesError)

    def as_upload(self, request: ApiRequest) -> tuple[StoredUpload, Options, str]:
        pictures = uploads_in(request.FILES)
        asked = {**request.query_params.dict(), **request.POST.dict()}
        ask = parse(ClassifyAskSerializer, asked).validated_data
        if ask.pop("explain"):
            raise InvalidInput("The results of batches have no such thing; leave it out.", field="explain")
        names = list(numbered(picture.filename for picture in pictures))
        upload = uploads.store_stream(_zipped(names, pictures), "pictures.zip")
        return upload, Options(kind=Job.Kind.IMAGE.value, **ask), ", ".join(names)


def prefers_later(request: Request) -> bool:
    wishes = request.headers.get("Prefer", "").lower().split(",")
    return "respond-async" in {wish.partition(";")[0].strip() for wish in wishes}


def _zipped(names: Sequence[str], sent: Sequence[Upload]) -> Iterator[bytes]:
    """The pictures as a zip, piece by piece."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as packed:
        for name, picture in zip(names, sent, strict=True):
            packed.writestr(zipfile.ZipInfo(name), picture.data)
            yield pieces.taken()
    yield pieces.taken()


class _Pieces(io.RawIOBase):
    """What is written, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        written, self._written = b"".join(self._written), []
        return written

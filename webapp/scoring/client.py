"""The scoring pods as the site calls them: plain values in, plain values out, or a ScoringError.

FAQ models are served by the CPU pods, image models by the GPU pods (docs/architecture.md).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from django.conf import settings

from scoring_service.contract import (
    JSON_LENGTH_HEADER,
    LOW_PRIORITY,
    VERSION_HEADER,
    ContractError,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    Tensor,
    TensorMetadata,
    bytes_of,
    decode_json,
    decode_request,
    decode_response,
    encode_request,
    text_of,
)
from webapp import metrics
from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.scoring.answers import FaqAnswer, FaqScore, ImageAnswer, ModelDetails, Models, Prediction, Terms
from webapp.scoring.listing import HEATMAP, ModelList, in_parallel
from webapp.scoring.pods import Call, PodPool, readable, refused

INFO_TIMEOUT = 2.0  # seconds
DIGITS = 6  # of a probability: what a float32 holds
# Rows of a batch in one request: a pod takes larger ones, but reads and copies them while others wait for it.
REQUEST_BYTES = 16 * 2**20

POOL_OF = {"faq": "cpu", "image": "gpu"}  # kind of model to the pool that serves it, where nobody says otherwise

# Numbers are exact and quicker as bytes, short texts are quicker as JSON.
PROBABILITY = RequestedOutput(name="probability", parameters={"binary_data": True})
FAQ_OUTPUTS = [PROBABILITY, RequestedOutput(name="faq_id"), RequestedOutput(name="answer_id")]
EXPLAINED_OUTPUTS = [*FAQ_OUTPUTS, RequestedOutput(name="terms")]
IMAGE_OUTPUTS = [PROBABILITY, RequestedOutput(name="label"), RequestedOutput(name="label_id")]
EXPLAINED_IMAGE_OUTPUTS = [*IMAGE_OUTPUTS, RequestedOutput(name=HEATMAP, parameters={"binary_data": True})]

# What the metrics call the ends of a call.
OUTCOMES = {
    ScoringError: "error",
    ScoringRefused: "refused",
    ScoringUnavailable: "unavailable",
    ScoringTimeout: "timeout",
}

T = TypeVar("T")
Element = TypeVar("Element", str, bytes)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How rows of a batch are scored; each as ScoringClient says. timeout: for all of the rows together."""

    model: str
    top_k: int
    timeout: float
    version: str | None = None
    routing_key: str | None = None


class ScoringClient:
    """Calls the pods. One for the whole process; may be used by many threads at once.

    Where nothing else is said: pool is "cpu" or "gpu"; `version` names one, and without it the pod chooses, by
    `routing_key` where a part of the requests goes to a challenger: the same key always to the same version; timeout:
    seconds in all. All raise ScoringError; ScoringRefused for an input that cannot be scored.
    """

    def __init__(self, *, cpu_url: str, gpu_url: str, token: str) -> None:
        self._pools = {"cpu": PodPool("FAQ", cpu_url, token), "gpu": PodPool("image", gpu_url, token)}
        self._lists = {kind: ModelList(kind, self._pools[pool]) for kind, pool in POOL_OF.items()}

    def match_faq(
        self,
        question: str,
        *,
        model: str,
        top_k: int = 10,
        explain: bool = False,
        timeout: float,
        version: str | None = None,
        routing_key: str | None = None,
        pool: str = POOL_OF["faq"],
    ) -> FaqAnswer:
        """The entries nearest to the question, most probable first; top_k 0 for all. explain: with the words that
        matched.
        """
        outputs = EXPLAINED_OUTPUTS if explain else FAQ_OUTPUTS
        request = _asking("question", [question], outputs, top_k, routing_key)
        answer = self._infer(pool, model, request, timeout=timeout, version=version)
        with readable(answer.model_version):
            return _faq_answer(answer, _rows_of(answer, outputs)[0])

    def match_many(
        self,
        questions: Sequence[str],
        *,
        model: str,
        version: str | None = None,
        top_k: int = 10,
        timeout: float,
        pool: str = POOL_OF["faq"],
    ) -> list[FaqAnswer]:
        """The same for several questions in one request, an answer each. One without a word in it refuses them all."""
        request = _asking("question", list(questions), FAQ_OUTPUTS, top_k)
        answer = self._infer(pool, model, request, timeout=timeout, version=version)
        with readable(answer.model_version):
            return [_faq_answer(answer, row) for row in _rows_of(answer, FAQ_OUTPUTS, len(questions))]

    def classify_image(
        self,
        data: bytes,
        *,
        model: str,
        top_k: int = 5,
        explain: bool = False,
        timeout: float,
        version: str | None = None,
        routing_key: str | None = None,
        pool: str = POOL_OF["image"],
    ) -> ImageAnswer:
        """What the picture (a file as received) shows, most probable first. explain: and where the first was seen."""
        outputs = EXPLAINED_IMAGE_OUTPUTS if explain else IMAGE_OUTPUTS
        request = _asking("image", [data], outputs, top_k, routing_key)
        answer = self._infer(pool, model, request, timeout=timeout, version=version, binary=True)
        with readable(answer.model_version):
            return _image_answer(answer, _rows_of(answer, outputs)[0])

    def classify_many(
        self,
        pictures: Sequence[bytes],
        *,
        model: str,
        version: str | None = None,
        top_k: int = 5,
        timeout: float,
        pool: str = POOL_OF["image"],
    ) -> list[ImageAnswer]:
        """The same for several pictures in one request, an answer each. One that does not decode refuses them all."""
        request = _asking("image", list(pictures), IMAGE_OUTPUTS, top_k)
        answer = self._infer(pool, model, request, timeout=timeout, version=version, binary=True)
        with readable(answer.model_version):
            return [_image_answer(answer, row) for row in _rows_of(answer, IMAGE_OUTPUTS, len(pictures))]

    def match_batch(self, questions: Sequence[str], how: BatchOptions) -> list[FaqAnswer | ScoringRefused]:
        """The same for rows of a batch, which pods score while nobody else waits: one entry a row, in their order.

        A row that cannot be scored has the error that says why in its place. What concerns all rows is raised.
        """
        return self._batch("faq", "question", questions, FAQ_OUTPUTS, _faq_answer, how=how)

    def classify_batch(self, pictures: Sequence[bytes], how: BatchOptions) -> list[ImageAnswer | ScoringRefused]:
        """The same for the pictures of a batch, sent in several requests one after the other where they are large."""
        return self._batch("image", "image", pictures, IMAGE_OUTPUTS, _image_answer, how=how)

    def score_one(self, pool: str, model: str, version: str, element: str | bytes, *, timeout: float) -> None:
        """Has any version score one element of its first input, whatever comes out."""
        tensor = Tensor(name=str(self.describe(pool, model, version).inputs[0]["name"]), shape=[1], datatype="BYTES")
        tensor.data = [element]
        self._infer(pool, model, InferRequest(inputs=[tensor]), timeout=timeout, version=version, binary=True)

    def score_request(self, pool: str, model: str, version: str, content: bytes, *, timeout: float) -> None:
        """Has any version answer a request given as the protocol's JSON, whatever comes out."""
        try:
            request = decode_request(content)
        except ContractError as error:
            raise ScoringRefused(str(error)) from error
        self._infer(pool, model, request, timeout=timeout, version=version, binary=True)

    def describe(self, pool: str, model: str, version: str) -> ModelDetails:
        """What a version takes in and gives out."""
        answer = self._pools[pool].send(Call("GET", _path(model, version)), timeout=INFO_TIMEOUT)
        with readable():
            about = decode_json(answer.content, ModelMetadata)
            return ModelDetails(
                inputs=[_tensor(each) for each in about.inputs],
                outputs=[_tensor(each) for each in about.outputs],
                parameters=about.parameters,
            )

    def models(self) -> Models:
        """The models of all pods, as they were at most two seconds ago. A pool that does not answer is named in it."""
        found = in_parallel(self.models_of, list(self._lists))
        return Models(
            models=[model for each in found for model in each.models],
            unreachable=[reason for each in found for reason in each.unreachable],
        )

    def models_of(self, kind: str) -> Models:
        """The same of the one pool that serves models of the kind, "faq" or "image": the other is not waited for."""
        return self._lists[kind].current()

    def pod_info(self) -> dict[str, Any]:
        """What a FAQ pod says about itself on the reference's GET /score. Raises ScoringError."""
        answer = self._pools["cpu"].send(Call("GET", "/score"), timeout=INFO_TIMEOUT)
        with readable():
            return decode_json(answer.content, dict[str, Any])

    def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            pool.close()

    def _batch(
        self,
        kind: str,
        name: str,
        elements: Sequence[Element],
        outputs: Sequence[RequestedOutput],
        read: Callable[[InferResponse, "Row"], T],
        *,
        how: BatchOptions,
    ) -> list[T | ScoringRefused]:
        """kind: of the model; name: of its input; read: makes an answer of one row."""
        deadline = time.monotonic() + how.timeout
        results: list[T | ScoringRefused] = []
        for portion in _portions(elements):
            request = _asking(name, portion, outputs, how.top_k, how.routing_key)
            request.parameters |= {"priority": LOW_PRIORITY, "row_errors": True}
            left = max(0.0, deadline - time.monotonic())
            binary = isinstance(portion[0], bytes)
            try:
                answer = self._infer(
                    POOL_OF[kind], how.model, request, timeout=left, version=how.version, binary=binary
                )
            except ScoringRefused as error:
                if len(portion) > 1:
                    raise
                results.append(error)  # too large for the pod, say: whatever it is, it is of this row
                continue
            with readable(answer.model_version):
                results += _one_a_row(answer, outputs, len(portion), read)
        return results

    def _infer(
        self,
        pool: str,
        model: str,
        request: InferRequest,
        *,
        timeout: float,
        version: str | None,
        binary: bool = False,
    ) -> InferResponse:
        content, headers = encode_request(request, binary=binary)
        call = Call("POST", f"{_path(model, version)}/infer", content, headers)
        with metrics.pod_call(model) as counted:
            try:
                answer = self._pools[pool].send(call, timeout=timeout)
                with readable(answer.headers.get(VERSION_HEADER, "")):
                    read = decode_response(answer.content, answer.headers.get(JSON_LENGTH_HEADER))
            except ScoringError as error:
                counted.version, counted.outcome = error.model_version, OUTCOMES[type(error)]
                raise
            counted.version, counted.outcome = read.model_version, "ok"
            return read


@cache
def scoring_client() -> ScoringClient:
    """The client of this process."""
    return ScoringClient(
        cpu_url=settings.SCORING_CPU_URL, gpu_url=settings.SCORING_GPU_URL, token=settings.SCORING_TOKEN
    )


# Requests -------------------------------------------------------------------------------------------------------------


def _path(model: str, version: str | None) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _asking(
    name: str,
    elements: Sequence[str | bytes],
    outputs: Sequence[RequestedOutput],
    top_k: int,
    routing_key: str | None = None,
) -> InferRequest:
    return InferRequest(
        inputs=[Tensor(name=name, shape=[len(elements)], datatype="BYTES", data=list(elements))],
        parameters={"top_k": top_k, **({"routing_key": routing_key} if routing_key else {})},
        outputs=list(outputs),
    )


def _portions(elements: Sequence[Element]) -> Iterator[Sequence[Element]]:
    """The elements in their order, as many together as one request should hold; at least one."""
    first = size = 0
    for number, element in enumerate(elements):
        if number > first and size + len(element) > REQUEST_BYTES:
            yield elements[first:number]
            first, size = number, 0
        size += len(element)
    if first < len(elements):
        yield elements[first:]


# Reading answers ------------------------------------------------------------------------------------------------------

Row = dict[str, list[Any]]  # the values of one row for each output


def _rows_of(answer: InferResponse, outputs: Sequence[RequestedOutput], count: int = 1) -> list[Row]:
    """The values of each row, texts as text and probabilities rounded. Raises ValueError where rows are missing."""
    rows: list[Row] = [{} for _ in range(count)]
    for output in outputs:
        tensor = answer.output(output.name)
        values = tensor.elements
        if tensor.shape[0] != count or (values and len(values) % count):
            raise ValueError(f"{output.name} has the shape {tensor.shape} for {count} rows")
        width = len(values) // max(count, 1)
        read = READERS.get(output.name, text_of)
        for number, row in enumerate(rows):
            row[output.name] = [read(value) for value in values[number * width : (number + 1) * width]]
    return rows


def _one_a_row(
    answer: InferResponse, outputs: Sequence[RequestedOutput], count: int, read: Callable[[InferResponse, Row], T]
) -> list[T | ScoringRefused]:
    """What is read of each row of the request, or why the pod has none. Raises ValueError where rows are missing."""
    reasons = answer.row_errors
    if not all(0 <= number < count for number in reasons):
        raise ValueError(f"errors of the rows {sorted(reasons)} for {count} rows")
    scored = iter(_rows_of(answer, outputs, count - len(reasons)))
    return [
        refused(reasons[number], answer.model_version) if number in reasons else read(answer, next(scored))
        for number in range(count)
    ]


def _faq_answer(answer: InferResponse, row: Row) -> FaqAnswer:
    terms = map(_terms, row["terms"]) if "terms" in row else [None] * len(row["faq_id"])
    return FaqAnswer(
        scores=[
            FaqScore(*score) for score in zip(row["faq_id"], row["answer_id"], row["probability"], terms, strict=True)
        ],
        model=answer.model_name,
        version=answer.model_version,
        threshold=float(answer.parameters["threshold"]),
        model_ms=answer.parameters.get("model_ms"),
    )


def _image_answer(answer: InferResponse, row: Row) -> ImageAnswer:
    return ImageAnswer(
        predictions=[
            Prediction(*prediction)
            for prediction in zip(row["label"], row["label_id"], row["probability"], strict=True)
        ],
        model=answer.model_name,
        version=answer.model_version,
        model_ms=answer.parameters.get("model_ms"),
        heatmap=row[HEATMAP][0] if HEATMAP in row else None,
    )


def _probability(value: Any) -> float:
    """Raises ValueError for what is no number, or none that can be compared."""
    probability = round(float(value), DIGITS)
    if not math.isfinite(probability):
        raise ValueError(f"{probability} is no probability")
    return probability


# What is not text.
READERS: Mapping[str, Callable[[Any], Any]] = {"probability": _probability, HEATMAP: bytes_of}
TERMS = msgspec.json.Decoder(Terms)


def _terms(text: str) -> Terms:
    return TERMS.decode(text)


def _tensor(about: TensorMetadata) -> dict[str, Any]:
    return {"name": about.name, "datatype": about.datatype, "shape": about.shape}

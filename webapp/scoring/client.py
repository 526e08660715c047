"""The scoring pods as the site calls them: plain values in, plain values out, or a ScoringError.

FAQ models are served by the CPU pods, image models by the GPU pods (docs/architecture.md).
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import quote

import msgspec
from django.conf import settings

from scoring_service.contract import (
    JSON_LENGTH_HEADER,
    ContractError,
    IndexEntry,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    Tensor,
    decode_json,
    decode_response,
    encode_request,
    text_of,
)
from webapp.errors import ScoringError
from webapp.scoring.answers import FaqAnswer, FaqScore, ImageAnswer, ModelInfo, Models, Prediction, Terms
from webapp.scoring.pods import Call, PodPool

MODELS_TIMEOUT = 2.0  # seconds
MODELS_FRESH = 2.0  # seconds a list of models is used again
DIGITS = 6  # of a probability: what a float32 holds

# Numbers are exact and quicker as bytes, short texts are quicker as JSON.
PROBABILITY = RequestedOutput(name="probability", parameters={"binary_data": True})
FAQ_OUTPUTS = [PROBABILITY, RequestedOutput(name="faq_id"), RequestedOutput(name="answer_id")]
EXPLAINED_OUTPUTS = [*FAQ_OUTPUTS, RequestedOutput(name="terms")]
IMAGE_OUTPUTS = [PROBABILITY, RequestedOutput(name="label"), RequestedOutput(name="label_id")]


class ScoringClient:
    """Calls the pods. One for the whole process; may be used by many threads at once."""

    def __init__(self, *, cpu_url: str, gpu_url: str, token: str) -> None:
        self._pools = {"faq": PodPool("FAQ", cpu_url, token), "image": PodPool("image", gpu_url, token)}
        self._lock = Lock()
        self._models = Models(())
        self._models_until = 0.0

    def match_faq(
        self, question: str, *, model: str, top_k: int = 10, explain: bool = False, timeout: float
    ) -> FaqAnswer:
        """The entries nearest to the question, most probable first; top_k 0 for all. timeout: seconds in all.

        Raises ScoringError: ScoringRefused for a question without a word in it.
        """
        request = InferRequest(
            inputs=[Tensor(name="question", shape=[1], datatype="BYTES", data=[question])],
            parameters={"top_k": top_k},
            outputs=EXPLAINED_OUTPUTS if explain else FAQ_OUTPUTS,
        )
        answer = self._infer("faq", model, request, timeout=timeout)
        with _readable():
            ids, answer_ids = _texts(answer, "faq_id"), _texts(answer, "answer_id")
            terms = map(_terms, _texts(answer, "terms")) if explain else [None] * len(ids)
            return FaqAnswer(
                scores=[FaqScore(*score) for score in zip(ids, answer_ids, _probabilities(answer), terms, strict=True)],
                model=answer.model_name,
                version=answer.model_version,
                threshold=float(answer.parameters["threshold"]),
                model_ms=answer.parameters.get("model_ms"),
            )

    def classify_image(self, data: bytes, *, model: str, top_k: int = 5, timeout: float) -> ImageAnswer:
        """What the picture (a file as received) shows, most probable first. timeout: seconds in all.

        Raises ScoringError: ScoringRefused for a file that does not decode.
        """
        request = InferRequest(
            inputs=[Tensor(name="image", shape=[1], datatype="BYTES", data=[data])],
            parameters={"top_k": top_k},
            outputs=IMAGE_OUTPUTS,
        )
        answer = self._infer("image", model, request, timeout=timeout, binary=True)
        with _readable():
            return ImageAnswer(
                predictions=[
                    Prediction(*prediction)
                    for prediction in zip(
                        _texts(answer, "label"), _texts(answer, "label_id"), _probabilities(answer), strict=True
                    )
                ],
                model=answer.model_name,
                version=answer.model_version,
                model_ms=answer.parameters.get("model_ms"),
            )

    def models(self) -> Models:
        """The models of all pods, as they were at most two seconds ago. A pool that does not answer is named in it."""
        with self._lock:
            if time.monotonic() >= self._models_until:
                with ThreadPoolExecutor(len(self._pools)) as threads:
                    lists = [threads.submit(copy_context().run, self._models_of, kind) for kind in self._pools]
                    found = [each.result() for each in lists]
                self._models = Models(
                    models=[model for each in found for model in each.models],
                    unreachable=[reason for each in found for reason in each.unreachable],
                )
                self._models_until = time.monotonic() + MODELS_FRESH
            return self._models

    def pod_info(self) -> dict[str, Any]:
        """What a FAQ pod says about itself on the reference's GET /score. Raises ScoringError."""
        answer = self._pools["faq"].send(Call("GET", "/score"), timeout=MODELS_TIMEOUT)
        with _readable():
            return decode_json(answer.content, dict[str, Any])

    def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            pool.close()

    def _infer(
        self, kind: str, model: str, request: InferRequest, *, timeout: float, binary: bool = False
    ) -> InferResponse:
        content, headers = encode_request(request, binary=binary)
        path = f"/v2/models/{quote(model, safe='')}/infer"
        answer = self._pools[kind].send(Call("POST", path, content, headers), timeout=timeout)
        with _readable():
            return decode_response(answer.content, answer.headers.get(JSON_LENGTH_HEADER))

    def _models_of(self, kind: str) -> Models:
        """The models of one pool; those without metadata (still loading, broken) count as of the pool's own kind."""
        pool = self._pools[kind]
        try:
            answer = pool.send(Call("POST", "/v2/repository/index", b"{}"), timeout=MODELS_TIMEOUT)
            with _readable():
                index = decode_json(answer.content, list[IndexEntry])
            # One entry a version: of several, the one that answers stands for the model.
            entries = {entry.name: entry for entry in sorted(index, key=lambda entry: entry.state == "READY")}
            return Models([_model_info(pool, entry, kind) for entry in entries.values()])
        except ScoringError as error:
            return Models((), [error.detail])


@cache
def scoring_client() -> ScoringClient:
    """The client of this process."""
    return ScoringClient(
        cpu_url=settings.SCORING_CPU_URL, gpu_url=settings.SCORING_GPU_URL, token=settings.SCORING_TOKEN
    )


# Reading answers ------------------------------------------------------------------------------------------------------


@contextmanager
def _readable() -> Iterator[None]:
    """An answer that is not what the protocol promises becomes a ScoringError."""
    try:
        yield
    except (ContractError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise ScoringError("The scoring service sent an answer that cannot be read. Try again in a moment.") from error


def _texts(answer: InferResponse, output: str) -> list[str]:
    return [text_of(element) for element in answer.output(output).data or ()]


def _probabilities(answer: InferResponse) -> list[float]:
    return [round(float(value), DIGITS) for value in answer.output("probability").data or ()]


def _terms(text: str) -> Terms:
    return msgspec.json.decode(text, type=Terms)


def _model_info(pool: PodPool, entry: IndexEntry, kind: str) -> ModelInfo:
    """The model as its metadata describe it, or by name alone where there are none."""
    try:
        answer = pool.send(Call("GET", f"/v2/models/{quote(entry.name, safe='')}"), timeout=MODELS_TIMEOUT)
        with _readable():
            about = decode_json(answer.content, ModelMetadata).parameters
    except ScoringError:
        about = {}
    ready = entry.state == "READY"
    return ModelInfo(
        name=entry.name,
        version=entry.version,
        kind=str(about.get("kind", kind)),
        title=str(about.get("title") or entry.name),
        description=str(about.get("description", "")),
        sample=bool(about.get("sample", False)),
        ready=ready,
        reason="" if ready else entry.reason or "It is being loaded.",
        metrics=about.get("metrics") or {},
    )

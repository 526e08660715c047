"""The scoring pods as the site calls them: plain values in, plain values out, or a ScoringError.

FAQ models are served by the CPU pods, image models by the GPU pods (docs/architecture.md).
"""

from functools import cache
from typing import Any
from urllib.parse import quote

import msgspec
from django.conf import settings

from scoring_service.contract import (
    JSON_LENGTH_HEADER,
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    decode_json,
    decode_response,
    encode_request,
    text_of,
)
from webapp.scoring.answers import FaqAnswer, FaqScore, ImageAnswer, Models, Prediction, Terms
from webapp.scoring.listing import ModelList, in_parallel
from webapp.scoring.pods import Call, PodPool, readable

INFO_TIMEOUT = 2.0  # seconds
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
        self._lists = {kind: ModelList(kind, pool) for kind, pool in self._pools.items()}

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
        with readable():
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
        with readable():
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
        found = in_parallel(self.models_of, list(self._pools))
        return Models(
            models=[model for each in found for model in each.models],
            unreachable=[reason for each in found for reason in each.unreachable],
        )

    def models_of(self, kind: str) -> Models:
        """The same of the one pool that serves models of the kind, "faq" or "image": the other is not waited for."""
        return self._lists[kind].current()

    def pod_info(self) -> dict[str, Any]:
        """What a FAQ pod says about itself on the reference's GET /score. Raises ScoringError."""
        answer = self._pools["faq"].send(Call("GET", "/score"), timeout=INFO_TIMEOUT)
        with readable():
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
        with readable():
            return decode_response(answer.content, answer.headers.get(JSON_LENGTH_HEADER))


@cache
def scoring_client() -> ScoringClient:
    """The client of this process."""
    return ScoringClient(
        cpu_url=settings.SCORING_CPU_URL, gpu_url=settings.SCORING_GPU_URL, token=settings.SCORING_TOKEN
    )


# Reading answers ------------------------------------------------------------------------------------------------------


def _texts(answer: InferResponse, output: str) -> list[str]:
    return [text_of(element) for element in answer.output(output).data or ()]


def _probabilities(answer: InferResponse) -> list[float]:
    return [round(float(value), DIGITS) for value in answer.output("probability").data or ()]


def _terms(text: str) -> Terms:
    return msgspec.json.decode(text, type=Terms)

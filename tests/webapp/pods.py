"""Pods that answer from memory, behind the real scoring client: the network is swapped, nothing else."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2 as httpx

from scoring_service.contract import (
    JSON_LENGTH_HEADER,
    InferRequest,
    InferResponse,
    Tensor,
    bytes_of,
    decode_request,
    encode_response,
    row_errors_parameter,
    text_of,
)

SIGNATURES = {
    "cpu": {
        "inputs": [{"name": "question", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "faq_id", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1, -1]},
        ],
    },
    "gpu": {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label_id", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "heatmap", "datatype": "BYTES", "shape": [-1], "parameters": {"optional": True}},
        ],
    },
}
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Pods(httpx.BaseTransport):
    """Speaks the protocol for a FAQ and an image model. `answers` replaces what comes back, `sent` is what came in."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        # faq_id, answer_id, probability, terms
        self.faq: list[tuple[str, str, float, dict[str, list[str]]]] = []
        self.by_question: dict[str, list[tuple[str, str, float, dict[str, list[str]]]]] = {}  # instead of those
        self.refused: dict[str | bytes, str] = {}  # a question or picture that cannot be scored, and why
        # label, label_id, probability; and what goes over each picture
        self.labels = [("Samoyed", "n02111889", 0.9), ("white wolf", "n02114548", 0.05)]
        self.heatmap = b"\x89PNG heat"
        # By pool. Each as the version that answers describes it (version, state and reason say otherwise); `others` are
        # its further versions, as the index has them: {"version": "2", "state": "READY"}; `tensors` are instead of
        # SIGNATURES.
        self.models: dict[str, list[dict[str, Any]]] = {
            "cpu": [{"name": "faq-javascript", "kind": "faq", "title": "JavaScript FAQ", "sample": True}],
            "gpu": [{"name": "resnet152", "kind": "image", "title": "ResNet-152", "sample": False}],
        }
        self.states: dict[str, dict[str, Any]] = {}  # what the pod of a pool says of itself besides
        self._planned: list[Answer] = []
        self._always: Answer | None = None

    def answers(self, *planned: Answer) -> None:
        """What comes back from now on, in that order; the last one again and again."""
        self._planned, self._always = list(planned[:-1]), planned[-1]

    def inferences(self) -> list[InferRequest]:
        """What was asked of models, decoded."""
        return [
            decode_request(request.content, request.headers.get(JSON_LENGTH_HEADER))
            for request in self.sent
            if request.url.path.endswith("/infer")
        ]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.sent.append(request)
        # Lists of models go on working: what a test plans is how the scoring goes.
        scoring = request.url.path.endswith(("/infer", "/score"))
        answer = (self._planned.pop(0) if self._planned else self._always) if scoring else None
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return answer or self.behave(request)

    def behave(self, request: httpx.Request) -> httpx.Response:
        """What a healthy pod answers."""
        pool = "cpu" if request.url.port == 8001 else "gpu"
        path = request.url.path
        if path == "/score":
            info = {"azEnvironment": "test", "location": "here", "osType": "Linux", "isServer": True}
            return httpx.Response(200, json={**info, "version": "0.1.0", "uniqueId": "pod-1"})
        if path == "/v2/repository/index":
            return httpx.Response(200, json=[entry for each in self.models[pool] for entry in _index_of(each)])
        if path == "/v2/pod":
            return httpx.Response(200, json=self._state(pool))
        model, version = re.fullmatch(r"/v2/models/([^/]+)(?:/versions/(.+?))?(?:/infer)?", path).groups("1")
        if path.endswith("/infer"):
            asked = decode_request(request.content, request.headers.get(JSON_LENGTH_HEADER))
            reasons = self._refused_rows(asked)
            if reasons and not asked.parameters.get("row_errors"):
                number = min(reasons)
                return refusal(400, f"input {asked.inputs[0].name!r}, row {number}: {reasons[number]}")
            answer = self._faq(model, version, asked) if pool == "cpu" else self._image(model, version, asked)
            answer.headers["X-Model-Version"] = version
            return answer
        known = next(each for each in self.models[pool] if each["name"] == model)
        answering, *others = _index_of(known)
        if answering["state"] != "READY":
            return refusal(503, answering["reason"] or f"{model} version {answering['version']} is being loaded")
        versions = [answering["version"], *sorted(each["version"] for each in others if each["state"] == "READY")]
        tensors = known.get("tensors", SIGNATURES[pool])
        about = {"name": model, "versions": versions, "platform": "test", **tensors}
        return httpx.Response(200, json={**about, "parameters": {"description": "", "metrics": {}, **known}})

    def _state(self, pool: str) -> dict[str, Any]:
        versions = [
            {
                "model": each["name"],
                "version": each.get("version", "1"),
                "state": each.get("state", "READY"),
                "reason": each.get("reason", ""),
                "role": "champion",
                "answering": each.get("state", "READY") == "READY",
                "load_seconds": 0.5,
            }
            for each in self.models[pool]
        ]
        about = {"pod": f"{pool}-1", "pool": pool, "ready": True, "memory": 2**27, "versions": versions}
        return {**about, **self.states.get(pool, {})}

    def _refused_rows(self, asked: InferRequest) -> dict[int, str]:
        """Why rows cannot be scored, by their number."""
        read = text_of if asked.inputs[0].name == "question" else bytes_of
        elements = enumerate(map(read, asked.inputs[0].data or ()))
        return {number: self.refused[element] for number, element in elements if element in self.refused}

    def _faq(self, model: str, version: str, asked: InferRequest) -> httpx.Response:
        top_k = asked.parameters.get("top_k", 10)
        questions = [each for each in map(text_of, asked.inputs[0].data or ()) if each not in self.refused]
        best = [each for question in questions for each in self.by_question.get(question, self.faq)[: top_k or None]]
        columns = {
            "faq_id": [each[0] for each in best],
            "answer_id": [each[1] for each in best],
            "probability": [each[2] for each in best],
            "terms": [json.dumps(each[3]) for each in best],
        }
        return self._infer_answer(model, version, asked, columns, {"threshold": 0.5, "model_ms": 0.7})

    def _image(self, model: str, version: str, asked: InferRequest) -> httpx.Response:
        rows = len(asked.inputs[0].data or ()) - len(self._refused_rows(asked))
        best = self.labels[: asked.parameters.get("top_k", 5) or None] * rows
        columns = {
            "label": [each[0] for each in best],
            "label_id": [each[1] for each in best],
            "probability": [each[2] for each in best],
            "heatmap": [self.heatmap] * rows,
        }
        return self._infer_answer(model, version, asked, columns, {"precision": "fp32"})

    def _infer_answer(
        self, model: str, version: str, asked: InferRequest, columns: dict[str, list[Any]], parameters: dict[str, Any]
    ) -> httpx.Response:
        names = [output.name for output in asked.outputs] or [
            name for name in columns if name not in {"terms", "heatmap"}
        ]
        reasons = self._refused_rows(asked)
        rows = len(asked.inputs[0].data or ()) - len(reasons)
        if asked.parameters.get("row_errors"):
            parameters = {**parameters, "row_errors": row_errors_parameter(reasons)}
        outputs = [
            Tensor(
                name=name,
                shape=[rows] if name == "heatmap" else [rows, len(columns[name]) // max(rows, 1)],
                datatype="FP32" if name == "probability" else "BYTES",
                data=columns[name],
            )
            for name in names
        ]
        answer = InferResponse(model_name=model, model_version=version, outputs=outputs, parameters=parameters)
        body, headers = encode_response(answer, binary=[name for name in names if asked.wants_binary(name)])
        return httpx.Response(200, content=body, headers=headers)


def refusal(status: int, message: str, **headers: str) -> httpx.Response:
    """An error as a pod says it."""
    return httpx.Response(status, json={"error": message}, headers=headers)


def _index_of(model: dict[str, Any]) -> list[dict[str, Any]]:
    """A model's entries in the index, first that of the version that answers or should."""
    entry = {"name": model["name"], "version": "1", "state": "READY", "reason": ""}
    versions = [model, *model.get("others", [])]
    return [{**entry, **{name: each[name] for name in entry if name in each}} for each in versions]

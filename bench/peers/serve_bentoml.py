"""BentoML: `bentoml serve serve_bentoml:Faq` or `…:Image`."""

import os
from pathlib import Path
from typing import Any

import bentoml
import workloads

BATCHES = {"batchable": True, "max_batch_size": int(os.environ["BATCH"]), "max_latency_ms": 10_000}
SERVED = bentoml.service(
    workers=int(os.environ["WORKERS"]),
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)


@SERVED
class Faq:
    def __init__(self) -> None:
        self.model = workloads.Faq()

    @bentoml.api(route="/score", **BATCHES)
    def score(self, question: list[str]) -> list[dict[str, Any]]:
        return [workloads.as_object(result) for result in self.model.score_batch(question)]


@SERVED
class Image:
    def __init__(self) -> None:
        self.model = workloads.Image()

    # Asynchronous, so that it runs in the thread that built the network: torch is slower in another one.
    @bentoml.api(route="/score", **BATCHES)
    async def score(self, picture: list[Path]) -> list[dict[str, Any]]:
        files = [path.read_bytes() for path in picture]
        return [workloads.as_object(result) for result in self.model.score_batch(files)]

"""TorchServe's handler, packed into an archive by torch-model-archiver."""

import os
from typing import Any

import workloads


class Scorer:
    def initialize(self, context: object) -> None:
        self.model = workloads.MODELS[os.environ["WORKLOAD"]]()

    def handle(self, requests: list[dict[str, Any]], context: object) -> list[dict[str, Any]]:
        bodies = [request["body"] for request in requests]
        items = [body["question"] if isinstance(body, dict) else bytes(body) for body in bodies]
        return [workloads.as_object(result) for result in self.model.score_batch(items)]

"""KServe's Python server, version 1 of its protocol: `python serve_kserve.py`. It has no batching of its own."""

import base64
import os
from typing import Any

import kserve
import workloads


class Scorer(kserve.Model):
    def __init__(self) -> None:
        super().__init__("peer")
        self.model = workloads.MODELS[os.environ["WORKLOAD"]]()
        self.ready = True

    def predict(self, payload: dict[str, Any], *_: object, **__: object) -> dict[str, Any]:
        items = [
            base64.b64decode(instance["b64"]) if isinstance(instance, dict) else instance
            for instance in payload["instances"]
        ]
        return {"predictions": [workloads.as_object(result) for result in self.model.score_batch(items)]}


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(os.environ["PORT"]),
        workers=int(os.environ["WORKERS"]),
        enable_grpc=False,
        enable_latency_logging=False,
    )
    server.start([Scorer()])

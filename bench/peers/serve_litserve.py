"""LitServe: `python serve_litserve.py`."""

import os
from typing import Any

import litserve
import workloads
from fastapi import Request


class Scorer(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = workloads.MODELS[os.environ["WORKLOAD"]]()

    def decode_request(self, request: Request) -> str | bytes:  # so annotated, it is the JSON or the form
        return request["question"] if "question" in request else request["picture"].file.read()

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, batch: list[Any]) -> list[Any]:
        return self.model.score_batch(batch)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        return workloads.as_object(output)


if __name__ == "__main__":
    scorer = Scorer(
        max_batch_size=int(os.environ["BATCH"]), batch_timeout=float(os.environ["WAIT_MS"]) / 1000, api_path="/score"
    )
    server = litserve.LitServer(
        scorer, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]), fast_queue=True, timeout=60
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=int(os.environ["API_SERVERS"]),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )

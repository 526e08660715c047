"""The FAQ workload as a scoring script: `workloads.py` lies beside it in the version."""

import workloads


def init() -> None:
    global model  # noqa: PLW0603  # a script's state is its module
    model = workloads.Faq()


def run(rows: list[str]) -> list[dict[str, list[float]]]:
    return [
        {"id": [number for number, _ in best], "score": [score for _, score in best]}
        for best in model.score_batch(rows)
    ]

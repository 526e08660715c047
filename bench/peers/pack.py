"""Puts the peers' workloads into a store as scoring scripts, and writes STORE/cases.toml, which a harness may take.

python -m bench.peers.pack WORKLOADS.PY STORE [faq] [tfidf] [image]

"faq" and "image" run the peers' own code; "tfidf" gives the answers of "faq" by the matcher's way of multiplying. Asked
as `q`, the question or the picture. Their pods need ALLOW_SCORING_SCRIPTS=1. In cases.toml, {port} stands for the port
that a pod is to have, and $ in a body for a question or a picture (base64) as a JSON string.
"""

import json
import sys
from pathlib import Path

from scoring_service import packaging

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What is scored in Python alone: a way to another thread and back would cost more than the row.
LIGHT = {"faq", "tfidf"}
QUESTIONS = (
    "cpu",
    [{"name": "q", "datatype": "BYTES", "shape": [-1]}],
    [
        {"name": "id", "datatype": "INT64", "shape": [-1, 10]},
        {"name": "score", "datatype": "FP64", "shape": [-1, 10]},
    ],
)
TENSORS = {
    "faq": QUESTIONS,
    "tfidf": QUESTIONS,
    "image": (
        "gpu",
        [{"name": "q", "datatype": "BYTES", "shape": [-1], "encoding": "base64"}],
        [
            {"name": "id", "datatype": "INT64", "shape": [-1, 3]},
            {"name": "probability", "datatype": "FP64", "shape": [-1, 3]},
        ],
    ),
}


def pack(workloads: Path, store: Path, name: str) -> None:
    """Adds the workload "faq", "tfidf" or "image" as the model peer-NAME. workloads: the file that defines them."""
    pool, inputs, outputs = TENSORS[name]
    packaging.add(
        store,
        f"peer-{name}",
        HERE / f"score_{name}.py",
        runtime="script",
        title=f"The peers' workload: {name}",
        pool="cpu" if pool == "cpu" else "gpu",
        parameters={"inputs": inputs, "outputs": outputs, "light": name in LIGHT},
        extra=[workloads],
        scripts=True,
    )


def case(store: Path, name: str) -> str:
    """How the pod for the workload is started and asked, as a table of TOML."""
    env = {
        "PYTHONPATH": str(ROOT),
        "MODEL_STORE": str(store.resolve()),
        "SCORING_POOL": TENSORS[name][0],
        "SCORING_PORT": "{port}",
        "ALLOW_SCORING_SCRIPTS": "1",
    }
    body = '{"inputs": [{"name": "q", "datatype": "BYTES", "shape": [1], "data": [$]}]}'
    return "\n".join(
        [
            "[[case]]",
            f'name = "scorepod{"-matcher" if name == "tfidf" else ""}"',
            f'workload = "{"image" if name == "image" else "faq"}"',
            f"cmd = {json.dumps(f'{sys.executable} -m scoring_service serve')}",
            f"env = {{{', '.join(f'{key} = {json.dumps(value)}' for key, value in env.items())}}}",
            'health = "/v2/health/ready"',
            f'path = "/v2/models/peer-{name}/infer"',
            f"body = '{body}'",
            "",
        ]
    )


def main(workloads: Path, store: Path, names: list[str]) -> None:
    for name in names:
        pack(workloads, store, name)
    (store / "cases.toml").write_text("\n".join(case(store, name) for name in names))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(TENSORS))

"""Puts the peers' workloads into a store as scoring scripts.

python -m bench.peers.pack WORKLOADS.PY STORE [faq] [image]

Asked as `q`, the question or the picture. Their pods need ALLOW_SCORING_SCRIPTS=1.
"""

import sys
from pathlib import Path

from scoring_service import packaging

HERE = Path(__file__).parent
TENSORS = {
    "faq": (
        "cpu",
        [{"name": "q", "datatype": "BYTES", "shape": [-1]}],
        [
            {"name": "id", "datatype": "INT64", "shape": [-1, 10]},
            {"name": "score", "datatype": "FP64", "shape": [-1, 10]},
        ],
    ),
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
    """Adds the workload "faq" or "image" as the model peer-faq or peer-image. workloads: the file that defines both."""
    pool, inputs, outputs = TENSORS[name]
    packaging.add(
        store,
        f"peer-{name}",
        HERE / f"score_{name}.py",
        runtime="script",
        title=f"The peers' workload: {name}",
        pool="cpu" if pool == "cpu" else "gpu",
        parameters={"inputs": inputs, "outputs": outputs},
        extra=[workloads],
        scripts=True,
    )


if __name__ == "__main__":
    for each in sys.argv[3:] or TENSORS:
        pack(Path(sys.argv[1]), Path(sys.argv[2]), each)

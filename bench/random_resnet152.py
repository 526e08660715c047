"""A ResNet-152 with seeded random weights in a model store: as fast as the trained one, and made without a network.

python -m bench.random_resnet152 STORE [TRIED]

TRIED: with how many pictures a pod tries it and chooses a precision (default 4). With none it stays in float32.
"""

import sys
from pathlib import Path

from bench.peers.workloads import random_resnet152
from bench.workloads import pictures
from scoring_service.contract import TrainingData
from scoring_service.images.imagenet import torchvision_source
from scoring_service.images.registration import register


def main(store: Path, tried: int = 4) -> None:
    source = torchvision_source("resnet152")
    register(
        store,
        "resnet152",
        library="torchvision",
        architecture="resnet152",
        weights=random_resnet152().state_dict(),
        labels=source.labels,
        preprocessing=source.preprocessing,
        smoke=[(f"{number}.jpg", picture) for number, picture in enumerate(pictures(tried))],
        title="ResNet-152, random weights",
        description="Only for measuring speed.",
        sample=False,
        metrics={},
        data=TrainingData("nothing: the weights are random"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

"""A ResNet-152 with seeded random weights in a model store: as fast as the trained one, and made without a network.

python -m bench.random_resnet152 STORE
"""

import sys
from pathlib import Path

import torch
from torchvision.models import resnet152

from bench.workloads import pictures
from scoring_service.contract import TrainingData
from scoring_service.images.imagenet import torchvision_source
from scoring_service.images.registration import register


def main(store: Path) -> None:
    source = torchvision_source("resnet152")
    torch.manual_seed(7)
    network = resnet152(weights=None)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):  # keeps the activations of 50 untrained blocks within range
            torch.nn.init.constant_(parameter, 0.2)
    register(
        store,
        "resnet152",
        library="torchvision",
        architecture="resnet152",
        weights=network.state_dict(),
        labels=source.labels,
        preprocessing=source.preprocessing,
        smoke=[(f"{number}.jpg", picture) for number, picture in enumerate(pictures(4))],
        title="ResNet-152, random weights",
        description="Only for measuring speed.",
        sample=False,
        metrics={},
        data=TrainingData("nothing: the weights are random"),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

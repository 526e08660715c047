"""Networks on a CPU after their convolutions, additions and ReLUs have become one."""

import pytest
import torch
from torch import nn

from scoring_service.images.architectures import build, fold_batch_norms
from scoring_service.images.explaining import explainer_of
from scoring_service.images.fusing import fuse


def folded(architecture: str, library: str = "torchvision") -> nn.Module:
    torch.manual_seed(0)
    network = build(library, architecture, classes=4).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    return fold_batch_norms(network).to(memory_format=torch.channels_last)


def calls_of(network: nn.Module) -> list[str]:
    """What its graph calls, by name."""
    return [node.name for node in network.graph.nodes if node.op.startswith("call_")]


@pytest.mark.parametrize(
    ("library", "architecture"),
    [
        ("torchvision", "resnet10"),  # shortcuts, with and without a convolution of their own
        ("torchvision", "mobilenet_v3_small"),  # depthwise, and activations that are no ReLU
        ("torchvision", "densenet121"),
        ("torchvision", "squeezenet1_1"),
        ("timm", "resnet10t"),
        ("timm", "vit_tiny_patch16_224"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_the_answers_stay_whatever_the_number_of_pictures(library, architecture, count):
    network = folded(architecture, library)
    side = 224 if "vit" in architecture else 96
    pictures = torch.rand(count, 3, side, side).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = network(pictures)
        fused = fuse(network, torch.rand(2, 3, side, side))
        torch.testing.assert_close(fused(pictures), expected, rtol=1e-3, atol=1e-4)
        again = fused(pictures)
    assert torch.equal(fused(pictures), again)


def test_of_a_residual_network_no_addition_and_no_relu_is_left_before_the_map_that_explains():
    network = fuse(folded("resnet10"), torch.rand(2, 3, 128, 128))
    calls = calls_of(network)
    assert sum("_convolution_pointwise" in call for call in calls) == 12
    assert not [call for call in calls if "relu" in call or "add" in call]
    assert not [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_what_comes_after_that_map_is_left_alone_and_the_heat_stays():
    network = folded("resnet10")
    pictures = torch.rand(2, 3, 32, 32)
    logits, heat = explainer_of(network, pictures)(pictures)
    fused = fuse(network, pictures)
    assert sum(isinstance(module, nn.Conv2d) for module in fused.modules()) == 6
    logits_fused, heat_fused = explainer_of(fused, pictures)(pictures)
    torch.testing.assert_close(logits_fused, logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(heat_fused, heat, rtol=0, atol=1e-3)


class Shared(nn.Module):
    """What a convolution gives is used twice, and changed in place beside."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.same = nn.Conv2d(8, 8, 3, padding="same")

    def forward(self, pictures):
        left, right = self.one(pictures), self.other(pictures)
        clipped = left.relu() + left
        wide = right + torch.ones(8, 1, 1)
        return torch.relu(self.same(clipped)) + torch.add(right, wide, alpha=2) + self.one(pictures)


def test_what_is_not_surely_the_same_is_not_fused():
    torch.manual_seed(0)
    network = torch.fx.symbolic_trace(Shared().eval())
    pictures = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = network(pictures)
        torch.testing.assert_close(fuse(network, pictures)(pictures), expected, rtol=1e-3, atol=1e-4)

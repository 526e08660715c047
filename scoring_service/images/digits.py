"""The sample image model: a small ResNet that reads one handwritten digit, trained here from scikit-learn's data.

It needs no download, so that pages and programs have a real network to talk to from the first minute.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from scoring_service.images.architectures import build
from scoring_service.images.preprocessing import Preprocessing

ARCHITECTURE = "resnet10"
SIDE = 32  # pixels; the data is 8 × 8, which a ResNet's first layers would shrink to nothing
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PREPROCESSING = Preprocessing(resize=(SIDE,), crop=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

_HELD_OUT = 360  # of 1,797
_EPOCHS = 18
_BATCH = 64
_LEARNING_RATE = 3e-3

Progress = Callable[[int, int, str], None]  # batches done, batches in all, a note


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Digits as amounts of ink from 0 to 1, float32 (n, 1, 8, 8), and what they show, int64 (n)."""

    ink: torch.Tensor
    shown: torch.Tensor


def load(seed: int = 0) -> tuple[Digits, Digits]:
    """Training and held-out digits: a fifth is held out, each digit in equal parts."""
    data = load_digits()
    ink = torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1)
    shown = torch.tensor(data.target, dtype=torch.int64)
    parts = train_test_split(np.arange(len(shown)), test_size=_HELD_OUT, stratify=data.target, random_state=seed)
    training, held_out = (Digits(ink=ink[rows], shown=shown[rows]) for rows in parts)
    return training, held_out


def train(digits: Digits, *, progress: Progress, seed: int = 0) -> nn.Module:
    """A network that reads digits, in evaluation mode. The same seed gives the same network on the same machine."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build("torchvision", ARCHITECTURE, classes=len(LABELS))
    network.to(memory_format=torch.channels_last).train()
    enlarged = _enlarged(digits.ink, SIDE)
    batches = len(enlarged) // _BATCH
    steps = _EPOCHS * batches
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps, pct_start=0.2)
    for epoch in range(_EPOCHS):
        order = torch.randperm(len(enlarged), generator=random)
        for batch, rows in enumerate(order[: batches * _BATCH].split(_BATCH), start=1):
            pictures = _painted(_drawn_anew(enlarged[rows], random), random)
            loss = functional.cross_entropy(network(_network_input(pictures)), digits.shown[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(epoch * batches + batch, steps, f"loss {loss.item():.2f}")
    return network.eval()


def picture(ink: torch.Tensor, side: int, *, light_on_dark: bool = False) -> Image.Image:
    """One digit, (1, 8, 8), as a grey picture of side × side pixels, with a pen's edge and some paper around it.

    Dark ink on white paper, or the reverse.
    """
    drawn = _sharpened(_enlarged(functional.pad(ink.unsqueeze(0), [2, 2, 2, 2]), side), steepness=12, middle=0.5)[0, 0]
    greys = (255 * (drawn if light_on_dark else 1 - drawn)).round().to(torch.uint8)
    return Image.fromarray(greys.numpy())


def _enlarged(ink: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(ink, size=(side, side), mode="bicubic", align_corners=False).clamp_(0, 1)


def _network_input(pictures: torch.Tensor) -> torch.Tensor:
    """float32 (n, 3, SIDE, SIDE) as PREPROCESSING makes it from a picture, from grey values of 0 to 1, (n, 1, …)."""
    normalised = (pictures - PREPROCESSING.mean[0]) / PREPROCESSING.std[0]
    return normalised.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _drawn_anew(ink: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """The digits turned, slanted, narrowed, moved, with more paper around and another sharpness.

    The data fills its frame edge to edge, in width too; what people photograph or draw does not.
    """
    count = len(ink)
    angle = _uniform(count, -0.22, 0.22, random)  # radians
    slant = _uniform(count, -0.2, 0.2, random)
    height = _uniform(count, 0.85, 2.2, random)  # of the frame to the digit
    width = height * _uniform(count, 0.85, 1.9, random)
    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0], grid[:, 0, 1] = angle.cos() * width, slant - angle.sin() * height
    grid[:, 1, 0], grid[:, 1, 1] = angle.sin() * width, angle.cos() * height
    room = 0.12 + 0.45 * (height - 1).clamp(min=0)
    grid[:, :, 2] = _uniform(2 * count, -1, 1, random).view(count, 2) * room.unsqueeze(1)
    moved = functional.grid_sample(
        ink, functional.affine_grid(grid, list(ink.shape), align_corners=False), align_corners=False
    )
    sharp = _sharpened(
        moved,
        steepness=_each(_uniform(count, 2, 14, random)),
        middle=_each(_uniform(count, 0.3, 0.6, random)),  # low makes a thick pen, high a thin one
    )
    return torch.where(_each(torch.rand(count, generator=random) < 0.6), sharp, moved)


def _sharpened(ink: torch.Tensor, *, steepness: torch.Tensor | float, middle: torch.Tensor | float) -> torch.Tensor:
    """Ink after a curve through 0 and 1 that is steepest at `middle`: a pen's edge instead of a blur."""
    low, high = _sigmoid(-middle * steepness), _sigmoid((1 - middle) * steepness)
    return (_sigmoid((ink - middle) * steepness) - low) / (high - low)


def _sigmoid(value: torch.Tensor | float) -> torch.Tensor:
    return torch.as_tensor(value).sigmoid()


def _painted(ink: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Grey pictures of 0 to 1 from amounts of ink: half of them dark on light, in any contrast, a little noisy."""
    count = len(ink)
    dark, light = _uniform(count, 0, 0.35, random), _uniform(count, 0.6, 1, random)
    inverted = torch.rand(count, generator=random) < 0.5
    paper, pen = _each(torch.where(inverted, 1 - dark, dark)), _each(torch.where(inverted, 1 - light, light))
    noise = torch.randn(ink.shape, generator=random) * _each(_uniform(count, 0, 0.05, random))
    return (paper + (pen - paper) * ink + noise).clamp(0, 1)


def _uniform(count: int, low: float, high: float, random: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=random)


def _each(values: torch.Tensor) -> torch.Tensor:
    """One value a picture, shaped to multiply pictures."""
    return values.view(-1, 1, 1, 1)


@torch.inference_mode()
def accuracy(network: nn.Module, digits: Digits, *, light_on_dark: bool) -> float:
    """The share of the digits that the network reads rightly, 0 to 1, shown dark on light or the reverse."""
    ink = _enlarged(digits.ink, SIDE)
    read = network(_network_input(ink if light_on_dark else 1 - ink)).argmax(1)
    return float((read == digits.shown).float().mean())

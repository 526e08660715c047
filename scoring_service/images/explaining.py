"""Where in a picture a network saw its best label: Grad-CAM (Selvaraju et al., 2017).

The last feature map with positions worth telling apart is taken out of the network's graph. Only from there on slopes
are computed, which of a ResNet-152 is one pooling and one matrix: a picture explained costs little more than one named.

A network for small pictures has no such map at its end. Of one before it each position's own slopes count (HiResCAM,
Draelos and Carin, 2020), not their mean, by which one digit in six would have no heat at all; where only pooling and a
matrix follow, the two are the same.
"""

import copy
import io
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import fx, nn

_LEAST_SIDE = 4  # positions; a network for small pictures has one at its end, which tells no part from another
_LONGEST = 320  # pixels of an overlay; there is no detail in it, and browsers enlarge smoothly

# Of an overlay: heat 0 to 255 is the index of a colour, from a light yellow to a deep red, and how opaque it is.
_LIGHT, _DEEP = (255, 228, 90), (205, 10, 60)
_PALETTE = [round(_LIGHT[c] + (_DEEP[c] - _LIGHT[c]) * heat / 255) for heat in range(256) for c in range(3)]
_OPACITY = bytes(range(256))


@dataclass(frozen=True)
class FeatureMap:
    """name: of its node in the network's graph; last: whether no other map comes after it."""

    name: str
    last: bool


class Explainer:
    """A network that tells logits and heat at once."""

    def __init__(self, network: fx.GraphModule, feature_map: FeatureMap) -> None:
        """network: in evaluation mode, shared, not copied; it must need no slopes itself."""
        self._average = feature_map.last
        graph = copy.deepcopy(network.graph)
        node = next(each for each in graph.nodes if each.name == feature_map.name)
        with graph.inserting_after(node):
            leaf = graph.call_function(_leaf, (node,))
        node.replace_all_uses_with(leaf, delete_user_cb=lambda user: user is not leaf)
        end = next(iter(reversed(graph.nodes)))
        end.args = ((end.args[0], leaf),)
        self._network = fx.GraphModule(network, graph)

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (n, labels), and heat float32 (n, height, width) of the feature map: how much each position spoke for
        the picture's best label, from 0 to 1 for the most; all 0 where none did.

        pictures: as the network takes them; no inference tensor.
        """
        with torch.enable_grad():
            logits, features = self._network(pictures)
            # Pictures do not mix, so one sum gives each its own slopes.
            (slopes,) = torch.autograd.grad(logits.amax(1).sum(), features)
        features, slopes = features.detach().float(), slopes.float()
        if self._average:
            slopes = slopes.mean((2, 3), keepdim=True)
        heat = (slopes * features).sum(1).relu()
        most = heat.amax((1, 2), keepdim=True)
        return logits.detach(), heat / most.clamp_min(torch.finfo(torch.float32).tiny)


def explainer_of(network: nn.Module, pictures: torch.Tensor) -> Explainer | None:
    """The network as one that explains; None when it has no feature map to do it by.

    network: in evaluation mode; its parameters need no slopes from now on. pictures: one or more, as it takes them.
    """
    if not isinstance(network, fx.GraphModule):  # torch.fx could not follow it
        return None
    feature_map = find_feature_map(network, pictures)
    if feature_map is None:
        return None
    network.requires_grad_(False)
    return Explainer(network, feature_map)


def find_feature_map(network: fx.GraphModule, pictures: torch.Tensor) -> FeatureMap | None:
    """The last map of the picture: 4 × 4 positions or more, in the picture's proportions.

    None when there is none, or when positions become tokens after it: of a transformer, which mixes them, no earlier
    map tells where.
    """
    rows, _, height, width = pictures.shape
    found = None
    for name, shape in shapes_in(network, pictures).items():
        if _is_map(shape, height / width):
            found = FeatureMap(name, last=True)
        elif len(shape) == 4 and max(shape[2:]) > 1 and found:
            found = replace(found, last=False)
        elif len(shape) > 2 and len(shape) != 4 and shape[0] == rows:
            found = None
    return found


@torch.no_grad()
def shapes_in(network: fx.GraphModule, pictures: torch.Tensor) -> dict[str, torch.Size]:
    """The shape of each tensor on the way through the network, by the name of its node, in their order."""
    shapes = _Shapes(network)
    shapes.run(pictures)
    return shapes.seen


def _is_map(shape: torch.Size, proportions: float) -> bool:
    if len(shape) != 4 or min(shape[2:]) < _LEAST_SIDE:
        return False
    return 0.5 < shape[2] / shape[3] / proportions < 2  # else the channels come last


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of each tensor on the way, by the name of its node."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.seen: dict[str, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and n.op.startswith("call_"):
            self.seen[n.name] = value.shape
        return value


def _leaf(features: torch.Tensor) -> torch.Tensor:
    return features.detach().requires_grad_()


def overlay(heat: torch.Tensor, size: tuple[int, int], seen: tuple[float, float, float, float]) -> bytes:
    """The heat as a PNG to lay over the picture: clear where nothing spoke for the label, and where nobody looked.

    heat: (height, width), 0 to 1. size: the picture's width and height; the overlay has its proportions.
    seen: the part of the picture that the heat is of, as Preprocessing.seen gives it.
    """
    width, height = (max(1, round(side * _LONGEST / max(size))) for side in size)
    left, top, right, bottom = (round(share * side) for share, side in zip(seen, (width, height) * 2, strict=True))
    part = Image.fromarray((heat * 255).round().to("cpu", torch.uint8).numpy())
    drawn = Image.new("L", (width, height))
    drawn.paste(part.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.BICUBIC), (left, top))
    drawn.putpalette(_PALETTE)
    file = io.BytesIO()
    drawn.save(file, "PNG", transparency=_OPACITY)
    return file.getvalue()

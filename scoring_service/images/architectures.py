"""Networks by name, their weights from files that hold numbers only, and what makes them faster to run."""

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from scoring_service.images.vision import BasicBlock, ResNet, get_model

# Tracing swaps methods of all modules and puts them back, which two at once would do in the wrong order.
_tracing = threading.Lock()

Library = Literal["torchvision", "timm"]

# torchvision's ResNet with one block a stage. It has no builder of its own there; it learns small pictures in seconds.
_SMALL_RESNETS: dict[str, Callable[..., nn.Module]] = {
    "resnet10": lambda num_classes: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
}

# These two were trained on other colour statistics than the preprocessing that torchvision states for them, and turn
# one into the other themselves when told to. Their own initialisation takes minutes, and weights are to follow anyway.
_GOOGLE: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")
}


class UnusableWeights(ValueError):
    """The architecture or its weights cannot be used; the text says which and why."""


class _Undrawn(TorchFunctionMode):
    """Puts zeros where random numbers would go: to draw 60 million takes a second."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0].zero_()
        if func in (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_):  # these ask before they fill
            return given["tensor"].detach().zero_()
        return func(*args, **given)


def build(library: Library, architecture: str, *, classes: int, drawn: bool = True) -> nn.Module:
    """The network in training mode. drawn: with initial weights; else without, for others are to follow.

    Raises UnusableWeights when the library has no such architecture.
    """
    try:
        with nullcontext() if drawn else _Undrawn():
            if library == "timm":
                import timm  # noqa: PLC0415  # takes a second, which torchvision's networks need not wait for

                network = timm.create_model(architecture, pretrained=False, num_classes=classes)
            elif architecture in _SMALL_RESNETS:
                network = _SMALL_RESNETS[architecture](num_classes=classes)
            else:
                network = get_model(architecture, weights=None, num_classes=classes, **_GOOGLE.get(architecture, {}))
    except (ValueError, RuntimeError, TypeError) as error:
        raise UnusableWeights(f"{library} cannot build {architecture!r} with {classes} classes: {error}") from error
    assert isinstance(network, nn.Module)
    return network


def fit(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network with these weights themselves, not copies, as float32 and ready to score (evaluation mode).

    Heads that only training uses (GoogLeNet's and Inception's) may be missing from the weights or be left over.
    Raises UnusableWeights naming the first tensors that are missing, left over or of another shape.
    """
    try:
        missing, unexpected = network.load_state_dict(dict(weights), strict=False, assign=True)
    except RuntimeError as error:  # shapes differ
        raise UnusableWeights(f"The weights do not fit the architecture: {_detail(error)}") from error
    wrong = [name for name in (*missing, *unexpected) if not _only_for_training(name)]
    if wrong:
        raise UnusableWeights(
            f"The weights do not fit the architecture: {len(wrong)} tensors missing or left over, such as {wrong[0]}."
        )
    return network.float().eval()


def _only_for_training(name: str) -> bool:
    return name.startswith(("aux1.", "aux2.", "AuxLogits."))


def _detail(error: Exception) -> str:
    """The line of the message that says most: torch writes a headline, then one line for each fault."""
    headline, *faults = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    return faults[0] if faults else headline


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a PyTorch state dict (.pth, .pt).

    A state dict is read with `weights_only`: a pickle that would run anything is refused, not run.
    Raises UnusableWeights.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnusableWeights(
            f"{path.name} is refused: it holds more than tensors (a pickle that could run code). "
            "Save the model's state_dict(), best as safetensors."
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UnusableWeights(f"{path.name} cannot be read as weights: {_detail(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UnusableWeights(f"{path.name} is not a state dict: it must map names to tensors.")
    return state


class _Tracer(fx.Tracer):
    """Leaves other threads alone: while it traces, calls of all modules come by here, those of networks at work too."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """The same function with each batch norm multiplied into the convolution before it; needs evaluation mode.

    The network is used up: its convolutions get the new weights. One that torch.fx cannot follow (its code branches on
    values) comes back as it is.
    """
    try:
        with _tracing:
            traced = fx.GraphModule(network, _Tracer().trace(network))
    except (TypeError, ValueError, RuntimeError, AttributeError, fx.proxy.TraceError):
        return network
    modules = dict(traced.named_modules())
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        # Subclasses are left alone: timm's also apply the activation.
        if node.op != "call_module" or type(modules[node.target]) is not nn.BatchNorm2d:
            continue
        before = node.args[0]
        if before.op != "call_module" or type(modules[before.target]) is not nn.Conv2d:
            continue
        if len(before.users) > 1 or calls[before.target] > 1:  # something else needs the result without the norm
            continue
        conv, norm = modules[before.target], modules[node.target]
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced

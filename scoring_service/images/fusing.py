"""On CPUs: convolutions that add and clip before they write, with weights packed once.

A convolution, the addition of a shortcut and a ReLU are three ways through memory; oneDNN does them in one. The
operators are those that torch.compile would emit, put into the graph without a compiler, which no image has.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from scoring_service.images.explaining import find_feature_map, shapes_in

_ADDITIONS: set[Any] = {operator.add, operator.iadd, torch.add}
_RELUS: set[Any] = {functional.relu, torch.relu}


@torch.no_grad()
def fuse(network: nn.Module, pictures: torch.Tensor) -> nn.Module:
    """The same function, faster; as it is where torch.fx could not follow it, or this torch has no such operators.

    What comes after the map that pictures are explained by stays as it is, for slopes are computed there.

    network: evaluation mode, batch norms folded, on the CPU in its final precision. It is used up: its convolutions go.
    pictures: float of that precision (n, 3, height, width), as many as most calls will have.
    """
    if not isinstance(network, fx.GraphModule) or not torch.backends.mkldnn.is_available():
        return network
    shapes = shapes_in(network, pictures)
    last = find_feature_map(network, pictures)
    sizes = {  # of what each convolution is given, before nodes go
        node: shapes.get(node.all_input_nodes[0].name, pictures.shape)
        for node in network.graph.nodes
        if node.op == "call_module"
    }
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        module = modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d) and _is_plain(module):
            group = _group(node, shapes, modules)
            _replace(network, node, module, group, sizes[node])
        if last and node.name == last.name:
            break
    network.delete_all_unused_submodules()
    network.recompile()
    return network


@dataclass(frozen=True)
class Group:
    """A convolution and the nodes that follow it alone. addend: what is added to it; clipped: whether by a ReLU."""

    nodes: list[fx.Node]
    addend: fx.Node | None
    clipped: bool


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _group(conv: fx.Node, shapes: Mapping[str, torch.Size], modules: Mapping[str, nn.Module]) -> Group:
    nodes, addend = [conv], None
    following = _only_user(conv)
    if following is not None and (addend := _addend(following, conv, shapes)):
        nodes.append(following)
        following = _only_user(following)
    clipped = following is not None and _is_relu(following, modules)
    if following is not None and clipped:
        nodes.append(following)
    return Group(nodes, addend, clipped)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _addend(addition: fx.Node, conv: fx.Node, shapes: Mapping[str, torch.Size]) -> fx.Node | None:
    """What is added to the convolution's result, when that is all that the node does and both are of one shape."""
    if (
        addition.op != "call_function"
        or addition.target not in _ADDITIONS
        or addition.kwargs
        or len(addition.args) != 2
    ):
        return None
    first, second = addition.args
    other = second if first is conv else first
    if not isinstance(other, fx.Node) or other is conv or shapes.get(other.name) != shapes[conv.name]:
        return None
    # Added to in place, the other one would be seen changed by whoever uses it besides.
    return other if first is conv or addition.target is not operator.iadd or len(other.users) == 1 else None


def _is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules.get(str(node.target))) is nn.ReLU
    return node.op == "call_function" and node.target in _RELUS


def _replace(network: fx.GraphModule, node: fx.Node, conv: nn.Conv2d, group: Group, size: torch.Size) -> None:
    """Puts one call into the place of the group. size: of the convolution's input."""
    how: tuple[Any, ...] = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
    name = f"packed_{node.name}"
    packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *how, list(size))
    network.register_buffer(f"{name}_weight", packed)
    network.register_buffer(f"{name}_bias", None if conv.bias is None else conv.bias.detach())
    graph = network.graph
    with graph.inserting_before(group.nodes[-1]):
        weight = graph.get_attr(f"{name}_weight")
        bias = None if conv.bias is None else graph.get_attr(f"{name}_bias")
        given: Any = node.args[0]
        after = "relu" if group.clipped else None
        if group.addend is None:
            call = torch.ops.mkldnn._convolution_pointwise.default
            fused = graph.call_function(call, (given, weight, bias, *how, after or "none", [], ""))
        else:
            call = torch.ops.mkldnn._convolution_pointwise.binary
            fused = graph.call_function(call, (given, group.addend, weight, bias, *how, "add", 1.0, after, [], None))
    group.nodes[-1].replace_all_uses_with(fused)
    for old in reversed(group.nodes):
        graph.erase_node(old)

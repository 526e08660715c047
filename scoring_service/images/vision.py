"""What is used of torchvision, without torch's compiler, which takes two seconds to import.

torchvision 0.29 imports it in `ops/roi_align.py` for one function, which no classifier calls, though it means to avoid
that: what it compiles, it compiles at the first call.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Modules of the compiler's names in its place, where it isn't imported yet; once this is over it can be."""
    if _COMPILER[0] in sys.modules:
        yield
        return
    package, tools = (ModuleType(name) for name in _COMPILER)
    tools.is_compile_supported = lambda _device: False  # type: ignore[attr-defined] # what roi_align asks for
    sys.modules.update(zip(_COMPILER, (package, tools), strict=True))
    try:
        yield
    finally:
        for name in _COMPILER:
            del sys.modules[name]


with _without_compiler():
    from torchvision.models import ResNet152_Weights, get_model, get_model_weights
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transform  # those of v2 are marked with the compiler's own marks

__all__ = [
    "BasicBlock",
    "InterpolationMode",
    "ResNet",
    "ResNet152_Weights",
    "get_model",
    "get_model_weights",
    "transform",
]

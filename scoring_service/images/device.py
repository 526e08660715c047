"""Where a network runs, and in which precision."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from scoring_service.errors import DeviceLost, OutOfDeviceMemory

_WORTHWHILE = 0.95  # of float32's time; less of a gain is within what timings scatter
_TIMED_RUNS = 3


class NoUsableNumbers(ValueError):
    """The network gives NaN or infinity on the pictures it is checked with."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A precision and why it was taken, in words for a log."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        """As shown to users: "bfloat16" or "float32"."""
        return str(self.dtype).removeprefix("torch.")


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def device_errors() -> Iterator[None]:
    """Turns what torch raises into our tree: out of memory, which a smaller batch may cure, and a lost device."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfDeviceMemory("there was not enough memory for so many rows at once") from error
    except torch.AcceleratorError as error:
        raise DeviceLost(f"the device reports an error that sticks: {error}") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # torch has no class of its own for the CPU
            raise OutOfDeviceMemory("there was not enough memory for so many rows at once") from error
        raise


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is emulated, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@torch.no_grad()
def choose_precision(network: nn.Module, pictures: torch.Tensor) -> tuple[nn.Module, Choice]:
    """bfloat16 where the device has it, its best label agrees with float32's on every picture, and it is faster.

    network: float32, evaluation mode, on its device.
    pictures: normalised float32 (n, 3, height, width) on the same device; n may be 0, then float32 is kept.
    Returns the network in the chosen precision, and the choice.
    Raises NoUsableNumbers when float32 itself gives NaN or infinity.
    """
    if len(pictures) == 0:
        return network, Choice(dtype=torch.float32, reason="there are no smoke pictures to compare on")
    exact = network(pictures)
    if not exact.isfinite().all():
        raise NoUsableNumbers("The weights give no usable numbers: NaN or infinity on the smoke pictures.")
    if not has_fast_bfloat16(pictures.device):
        return network, Choice(dtype=torch.float32, reason="this processor has no bfloat16 instructions")
    rough_network, rough_pictures = _rounded(network), pictures.bfloat16()
    rough = rough_network(rough_pictures)
    agreeing = int((rough.argmax(1) == exact.argmax(1)).sum())
    if agreeing < len(pictures):
        reason = f"bfloat16 agrees with float32 on the best label of {agreeing} of {len(pictures)} smoke pictures"
        return network, Choice(dtype=torch.float32, reason=reason)
    exact_time, rough_time = _seconds((network, pictures[:1]), (rough_network, rough_pictures[:1]))
    timing = f"{1000 * rough_time:.1f} ms in bfloat16, {1000 * exact_time:.1f} ms in float32"
    if rough_time > _WORTHWHILE * exact_time:
        return network, Choice(dtype=torch.float32, reason=f"bfloat16 is not faster: {timing}")
    return rough_network, Choice(dtype=torch.bfloat16, reason=f"the best labels agree, and it is faster: {timing}")


def _rounded(network: nn.Module) -> nn.Module:
    """A copy in bfloat16, made without one in float32."""
    tensors = (*network.parameters(), *network.buffers())
    rounded = {id(tensor): tensor.detach().bfloat16() for tensor in tensors if tensor.is_floating_point()}
    memo = {id(each): nn.Parameter(rounded[id(each)], False) for each in network.parameters()}
    return copy.deepcopy(network, {**rounded, **memo})


def _seconds(*calls: tuple[nn.Module, torch.Tensor]) -> list[float]:
    """The fastest run of each of several networks, in turns: what else the machine does slows all of them.

    They have run once before.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(_TIMED_RUNS):
        for (network, pictures), own in zip(calls, times, strict=True):
            started = time.perf_counter()
            network(pictures)
            if pictures.is_cuda:
                torch.cuda.synchronize(pictures.device)
            own.append(time.perf_counter() - started)
    return [min(own) for own in times]

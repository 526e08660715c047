"""Where a network runs, and in which precision."""

import copy
import time
from collections.abc import Iterator, Mapping
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

    On GPUs that have it, it is faster: to measure it there with few pictures would show how fast calls are made.

    network: float32, evaluation mode, on its device.
    pictures: normalised float32 (n, 3, height, width) on the same device; n may be 0, then float32 is kept.
    Returns the network in the chosen precision, and the choice.
    Raises NoUsableNumbers when float32 itself gives NaN or infinity.
    """
    if len(pictures) == 0:
        return network, Choice(dtype=torch.float32, reason="there are no smoke pictures to compare on")
    networks = {torch.float32: network}
    if has_fast_bfloat16(pictures.device):
        networks[torch.bfloat16] = _rounded(network)
    labels, seconds = _tried(networks, pictures)
    if torch.bfloat16 not in networks:
        return network, Choice(dtype=torch.float32, reason="this processor has no bfloat16 instructions")
    exact, rough = labels.values()
    agreeing = sum(one == other for one, other in zip(exact, rough, strict=True))
    if agreeing < len(pictures):
        reason = f"bfloat16 agrees with float32 on the best label of {agreeing} of {len(pictures)} smoke pictures"
        return network, Choice(dtype=torch.float32, reason=reason)
    if pictures.is_cuda:
        return networks[torch.bfloat16], Choice(dtype=torch.bfloat16, reason="the best labels agree")
    exact_time, rough_time = seconds.values()
    timing = f"{1000 * rough_time:.1f} ms in bfloat16, {1000 * exact_time:.1f} ms in float32"
    if rough_time > _WORTHWHILE * exact_time:
        return network, Choice(dtype=torch.float32, reason=f"bfloat16 is not faster: {timing}")
    reason = f"the best labels agree, and it is faster: {timing}"
    return networks[torch.bfloat16], Choice(dtype=torch.bfloat16, reason=reason)


def _rounded(network: nn.Module) -> nn.Module:
    """A copy in bfloat16, made without one in float32."""
    rounded: dict[int, torch.Tensor] = {
        id(each): nn.Parameter(each.detach().bfloat16(), requires_grad=False) for each in network.parameters()
    }
    rounded |= {id(each): each.bfloat16() for each in network.buffers() if each.is_floating_point()}
    return copy.deepcopy(network, rounded)


def _tried(
    networks: Mapping[torch.dtype, nn.Module], pictures: torch.Tensor
) -> tuple[dict[torch.dtype, list[int]], dict[torch.dtype, float]]:
    """Each network's best label of every picture, and the seconds that it takes for one: the least of several.

    They run in turns, so that what else the machine does slows all of them, and picture by picture, so that there is
    one size to get ready for. Raises NoUsableNumbers when float32 gives NaN or infinity.
    """
    labels: dict[torch.dtype, list[int]] = {dtype: [] for dtype in networks}
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in networks}
    singles = pictures.split(1)
    for turn in range(max(len(singles), _TIMED_RUNS) + 1):  # the first is not timed: networks get ready in it
        picture = singles[turn % len(singles)]
        for dtype, network in networks.items():
            given = picture.to(dtype)
            started = time.perf_counter()
            (logits,) = network(given)
            if turn:
                seconds[dtype].append(time.perf_counter() - started)
            if turn < len(singles):
                if dtype is torch.float32 and not logits.isfinite().all():
                    raise NoUsableNumbers("The weights give no usable numbers: NaN or infinity on the smoke pictures.")
                labels[dtype].append(int(logits.argmax()))
    return labels, {dtype: min(own) for dtype, own in seconds.items()}

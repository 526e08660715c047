"""How fast an image model runs in each form, without a server: what the runtime's choices are worth on this machine.

    python -m bench.image_model [--architecture resnet152] [--seconds 5] [--out results.json]

The weights are random; speed does not depend on them. Each form runs in turn, so nothing else should want the CPUs.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bench.workloads import pictures
from scoring_service.cpus import cpu_limit
from scoring_service.images.architectures import build, fold_batch_norms
from scoring_service.images.decoding import decode
from scoring_service.images.device import best_device, has_fast_bfloat16
from scoring_service.images.fusing import fuse
from scoring_service.images.imagenet import torchvision_source

BATCHES = (1, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet152")
    parser.add_argument("--seconds", type=float, default=5, help="for each form and batch size")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(cpu_limit())
    device = best_device()
    torch.manual_seed(0)
    eager = build("torchvision", options.architecture, classes=1000).eval().to(device)
    folded = fold_batch_norms(build("torchvision", options.architecture, classes=1000).eval())
    folded = folded.to(device).to(memory_format=torch.channels_last)
    rows = [measured("float32, as built", eager, torch.float32, torch.contiguous_format, options.seconds)]
    for dtype in (torch.float32, *([torch.bfloat16] if has_fast_bfloat16(device) else [])):
        name, network = str(dtype).removeprefix("torch."), copy.deepcopy(folded).to(dtype)
        rows.append(measured(f"{name}, folded", network, dtype, torch.channels_last, options.seconds))
        if device.type == "cpu":
            fused = fuse(network, torch.rand(max(BATCHES), 3, 224, 224, dtype=dtype))
            rows.append(measured(f"{name}, fused", fused, dtype, torch.channels_last, options.seconds))
    files = pictures(8)
    preprocessing = torchvision_source(options.architecture).preprocessing
    decoding = rate(
        lambda: [preprocessing.pixels(decode(file, enough=preprocessing.enough)) for file in files], 8, options.seconds
    )
    report(options.architecture, device, rows, decoding)
    if options.out:
        figures = {"architecture": options.architecture, "device": str(device), "threads": torch.get_num_threads()}
        options.out.write_text(json.dumps({**figures, "images_per_second": rows, "decoded": decoding}, indent=1))


def measured(
    form: str, network: nn.Module, dtype: torch.dtype, layout: torch.memory_format, seconds: float
) -> dict[str, str | float]:
    """Images a second of the network alone, for each batch size."""
    figures: dict[str, str | float] = {"form": form}
    for size in BATCHES:
        batch = torch.rand(size, 3, 224, 224).to(best_device(), dtype).contiguous(memory_format=layout)
        with torch.inference_mode():
            figures[str(size)] = rate(lambda batch=batch: network(batch).float().cpu(), size, seconds)
    return figures


def rate(call: Callable[[], object], images: int, seconds: float) -> float:
    """Images a second of a call that handles so many, repeated for the time after one call that is not counted."""
    call()
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return round(calls * images / elapsed, 1)


def report(architecture: str, device: torch.device, rows: list[dict[str, str | float]], decoding: float) -> None:
    print(f"{architecture} on {device}, {torch.get_num_threads()} threads: images/s")
    print(f"{'':20}" + "".join(f"{f'batch {size}':>10}" for size in BATCHES))
    for row in rows:
        print(f"{row['form']:20}" + "".join(f"{row[str(size)]:10}" for size in BATCHES))
    print(f"{'decoding (1 thread)':20}{decoding:10}")


if __name__ == "__main__":
    main()

"""What a GPU makes of an image model, alone and from JPEGs: one table. Says so where there is none, and takes the CPU.

    python -m bench.gpu [--architecture resnet152] [--dtype bfloat16] [--batches 1,8,32,128] [--decoders 16]
                        [--seconds 5] [--out results.json]

Needs this repository, torch, torchvision, timm and Pillow. The weights are random; speed does not depend on them. The
model alone gets decoded pictures that lie in the GPU's memory: as written (eager), and as one recorded graph for each
batch size. From JPEGs, processes decode into shared memory; from there a batch goes into a pinned buffer, and one of
two streams copies and computes it while the other one's batch is still at work.

This has been run on CPUs only: no graph was ever recorded by it, nothing pinned, no two streams were at work.
"""

import argparse
import itertools
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.pool import Pool
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.image_model import rate
from bench.workloads import pictures
from scoring_service.cpus import cpu_limit
from scoring_service.images.architectures import build, fold_batch_norms
from scoring_service.images.decoding import decode
from scoring_service.images.device import best_device
from scoring_service.images.imagenet import torchvision_source

PREPROCESSING = torchvision_source("resnet152").preprocessing
SHAPE = (3, *PREPROCESSING.crop)
MATRIX = {"cuda": 8192, "cpu": 2048}  # rows and columns of those that tell the matrix rate
SLOTS = 4  # batches that decoded pictures have room for


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(cpu_limit())
    device, dtype = best_device(), getattr(torch, options.dtype)
    torch.manual_seed(0)
    network = fold_batch_norms(build("torchvision", options.architecture, classes=1000).eval())
    network = network.to(device, dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        flops = flops_of(network, device, dtype)
        matrix = matrix_rate(device, dtype, options.seconds)
        rows = [alone(network, size, device, dtype, options.seconds) for size in options.batches]
        end = end_to_end(network, device, dtype, options)
    for row in rows:
        row["share"] = row["graph"] * flops / matrix
    figures = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU, for there is no GPU here",
        "architecture": options.architecture,
        "dtype": options.dtype,
        "flops": flops,
        "matrix_flops_per_second": matrix,
        "alone": rows,
        "from_jpegs": end,
    }
    report(figures)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet152")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--batches", type=sizes, default=(1, 8, 32, 128), help="batch sizes; the last one for JPEGs")
    parser.add_argument("--decoders", type=int, default=cpu_limit(), help="decoding processes (default: one a CPU)")
    parser.add_argument("--seconds", type=float, default=5, help="for each figure")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


def sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


# The model alone ------------------------------------------------------------------------------------------------------


class Lane:
    """A batch size with buffers that stay where they are and, on a GPU, a stream and the work recorded as a graph."""

    def __init__(self, network: nn.Module, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self._network, self._dtype = network, dtype
        on_gpu = device.type == "cuda"
        self.host = torch.zeros(size, *SHAPE, dtype=torch.uint8, pin_memory=on_gpu)
        self._given = torch.zeros(size, *SHAPE, dtype=torch.uint8, device=device)
        # A graph may not copy from ordinary memory, so these are there before.
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std)
        )
        self._stream = torch.cuda.Stream() if on_gpu else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._best = self.eager()
        if on_gpu:
            self._record()

    def eager(self) -> torch.Tensor:
        """The best label of each picture in the device's buffer, int64 (size)."""
        given = self._given.float().div_(255).sub_(self._mean).div_(self._std)
        return self._network(given.to(self._dtype, memory_format=torch.channels_last)).argmax(1)

    def replay(self) -> None:
        """The same by the graph; without a GPU as it is."""
        if self._graph:
            self._graph.replay()
        else:
            self._best = self.eager()

    def begin(self) -> None:
        """Copies the host's buffer over and computes; on a GPU this only puts both into the stream."""
        with torch.cuda.stream(self._stream):
            self._given.copy_(self.host, non_blocking=True)
            self.replay()

    def finish(self) -> list[int]:
        """Waits for what was begun; then the host's buffer may be filled again."""
        if self._stream:
            self._stream.synchronize()
        return self._best.tolist()

    def _record(self) -> None:
        assert self._stream
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(3):  # what libraries choose and allocate at first is not to be recorded
                self.eager()
        torch.cuda.current_stream().wait_stream(self._stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._best = self.eager()


def alone(network: nn.Module, size: int, device: torch.device, dtype: torch.dtype, seconds: float) -> dict[str, float]:
    """Images a second of decoded pictures in the device's memory, as written and as a graph."""
    lane = Lane(network, size, device, dtype)
    figures = {"batch": float(size)}
    for form, call in (("eager", lane.eager), ("graph", lane.replay)):

        def settled(call: Any = call) -> None:
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()

        figures[form] = rate(settled, size, seconds)
    return figures


def flops_of(network: nn.Module, device: torch.device, dtype: torch.dtype) -> int:
    """Floating point operations for one picture."""
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, *SHAPE, device=device, dtype=dtype))
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Floating point operations a second of a product of large matrices: what can be had at most."""
    side = MATRIX[device.type]
    factor = torch.rand(side, side, device=device, dtype=dtype)

    def product() -> None:
        torch.mm(factor, factor)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return rate(product, 1, seconds) * 2 * side**3


# From JPEGs -----------------------------------------------------------------------------------------------------------

_shared: SharedMemory  # of a decoding process


def attach(name: str) -> None:
    global _shared  # noqa: PLW0603  # one for the process, from its start on
    _shared = SharedMemory(name)


def decode_into(task: tuple[int, bytes]) -> int:
    """Decodes the file of the task into its slot of the shared memory; returns the slot."""
    slot, file = task
    pixels = PREPROCESSING.pixels(decode(file, enough=PREPROCESSING.enough))
    np.ndarray(SHAPE, np.uint8, _shared.buf, slot * pixels.numel())[:] = pixels.numpy()
    return slot


@dataclass
class Decoding:
    """Decoded pictures without end, batch by batch, in the order of the files; decoded a few batches ahead."""

    pool: Pool
    shared: SharedMemory
    files: Sequence[bytes]
    batch: int
    given: int = 0  # pictures so far
    _coming: deque[Any] = field(default_factory=deque)

    def batches(self) -> Iterator[np.ndarray[Any, Any]]:
        """uint8 (batch, 3, height, width) each, valid until the next one is asked for."""
        slots = np.ndarray((SLOTS * self.batch, *SHAPE), np.uint8, self.shared.buf)
        numbers = itertools.cycle(range(SLOTS))
        tasks = itertools.cycle(self.files)
        while True:
            while len(self._coming) < SLOTS - 1:
                first = next(numbers) * self.batch
                chunk = [(first + place, next(tasks)) for place in range(self.batch)]
                self._coming.append((first, self.pool.map_async(decode_into, chunk, chunksize=1)))
            first, decoded = self._coming.popleft()
            decoded.get()
            self.given += self.batch
            yield slots[first : first + self.batch]


def end_to_end(
    network: nn.Module, device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, float]:
    """JPEGs a second, of decoding alone and with the model; and which share got the label that they should have."""
    batch = options.batches[-1]
    files = pictures(8)
    memory = SharedMemory(create=True, size=SLOTS * batch * int(np.prod(SHAPE)))
    context = get_context("spawn")
    try:
        with context.Pool(options.decoders, attach, (memory.name,)) as pool:
            source = Decoding(pool, memory, files, batch)
            decoded = source.batches()
            decoding = rate(lambda: next(decoded), batch, options.seconds)
            lanes = [Lane(network, batch, device, dtype) for _ in range(2)]
            first = source.given % len(files)
            labels, together = through(decoded, lanes, options.seconds)
    finally:
        memory.close()
        memory.unlink()
    expected = itertools.islice(itertools.cycle(expected_labels(network, files, device, dtype)), first, None)
    return {
        "batch": batch,
        "decoders": options.decoders,
        "decoding": decoding,
        "with_model": together,
        "right": sum(label == right for label, right in zip(labels, expected, strict=False)) / max(len(labels), 1),
    }


def through(decoded: Iterator[np.ndarray[Any, Any]], lanes: Sequence[Lane], seconds: float) -> tuple[list[int], float]:
    """The labels of all pictures in their order, and how many there were a second."""
    labels: list[int] = []
    started = time.perf_counter()
    busy: deque[Lane] = deque()
    for turn, batch in enumerate(decoded):
        lane = lanes[turn % len(lanes)]
        if len(busy) == len(lanes):
            labels += busy.popleft().finish()
        lane.host.copy_(torch.from_numpy(batch))
        lane.begin()
        busy.append(lane)
        if time.perf_counter() - started > seconds:
            break
    while busy:
        labels += busy.popleft().finish()
    return labels, round(len(labels) / (time.perf_counter() - started), 1)


def expected_labels(network: nn.Module, files: Sequence[bytes], device: torch.device, dtype: torch.dtype) -> list[int]:
    """The best label of each file, one after the other and without any of the above."""
    labels = []
    for file in files:
        pixels = PREPROCESSING.pixels(decode(file, enough=PREPROCESSING.enough))[None].to(device)
        given = PREPROCESSING.normalised(pixels).to(dtype, memory_format=torch.channels_last)
        labels.append(int(network(given).argmax(1)))
    return labels


def report(figures: dict[str, Any]) -> None:
    print(f"{figures['architecture']}, {figures['dtype']}, {figures['device']}")
    teraflops, gigaflops = figures["matrix_flops_per_second"] / 1e12, figures["flops"] / 1e9
    print(f"matrices: {teraflops:.2f} TFLOP/s, {gigaflops:.1f} GFLOP a picture")
    print(f"{'images/s':>14}{'eager':>10}{'graph':>10}{'of the matrix rate':>20}")
    for row in figures["alone"]:
        print(f"{'batch ' + str(int(row['batch'])):>14}{row['eager']:10}{row['graph']:10}{row['share']:20.0%}")
    end = figures["from_jpegs"]
    print(
        f"640×480 JPEGs/s, {end['decoders']} decoding processes, batches of {end['batch']}: decoding alone "
        f"{end['decoding']}, with the model {end['with_model']}; labels right: {end['right']:.1%}"
    )


if __name__ == "__main__":
    main()

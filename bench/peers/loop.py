"""The models without a server: their answers, and how fast they are in a loop, which no server with them can beat.

In processes of their own, so that whoever measures holds none of their memory.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

from bench.peers import workloads

WARM_UP = 1.0  # seconds

together: Barrier  # of the processes of a loop


def answers(workload: str, inputs: list[str] | list[bytes]) -> list[list[tuple[int, float]]]:
    """Each input's answer, computed one by one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(answered, workload, inputs).result()


def answered(workload: str, inputs: list[str] | list[bytes]) -> list[list[tuple[int, float]]]:
    model = workloads.MODELS[workload]()
    return [model.score_batch([each])[0] for each in inputs]


def rate(workload: str, inputs: list[str] | list[bytes], *, processes: int, batch: int, seconds: float) -> float:
    """Inputs a second of so many processes at once, each with a model of its own and batches of that size."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, joined, (context.Barrier(processes),)) as pool:
        running = [pool.submit(looped, workload, inputs, batch, seconds) for _ in range(processes)]
        return sum(each.result() for each in running)


def joined(barrier: Barrier) -> None:
    global together  # noqa: PLW0603  # how a process of a pool is told
    together = barrier


def looped(workload: str, inputs: list[str] | list[bytes], batch: int, seconds: float) -> float:
    model = workloads.MODELS[workload]()
    batches = [inputs[start : start + batch] for start in range(0, len(inputs) - batch + 1, batch)]
    together.wait()
    began = time.perf_counter()
    counted, since = 0, 0.0
    turn = 0
    while (now := time.perf_counter() - began) < WARM_UP + seconds:
        if not since and now > WARM_UP:
            since = now
        model.score_batch(batches[turn % len(batches)])
        counted += batch if since else 0
        turn += 1
    return counted / (now - since)

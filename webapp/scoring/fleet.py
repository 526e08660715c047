"""The single pods behind a pool's address: what each of them serves right now."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TypeVar

import httpx2 as httpx
from django.conf import settings

from scoring_service.contract import ContractError, PodState, decode_json
from webapp.scoring import pods as network

Item = TypeVar("Item")
Result = TypeVar("Result")

POOLS = ("cpu", "gpu")
WITHIN = 1.0  # seconds for everything
CONNECT_WITHIN = 0.5  # seconds
AT_ONCE = 16  # calls in parallel
_opening = Lock()


@dataclass(frozen=True)
class PodVersionView:
    """One version on one pod. state: READY, LOADING or UNAVAILABLE, the last with a reason.

    role: champion, challenger, standby or warm. answering: requests that name no version go to it.
    load_seconds: how long it took to load, None before.
    """

    model: str
    version: str
    state: str
    reason: str = ""
    role: str = ""
    answering: bool = False
    load_seconds: float | None = None


@dataclass(frozen=True)
class PodView:
    """One pod as it described itself just now. Of one that did not answer only address, pool and problem are known.

    reason: why it is not ready. started_at: RFC 3339. memory and memory_limit: bytes, None without a limit.
    """

    address: str
    pool: str
    reachable: bool
    problem: str = ""
    pod: str = ""
    ready: bool = False
    reason: str = ""
    started_at: str = ""
    device: str = ""
    memory: int = 0
    memory_limit: int | None = None
    store_problem: str = ""
    versions: Sequence[PodVersionView] = ()

    def version(self, model: str, version: str) -> PodVersionView | None:
        """What the pod says of that version; None where it knows nothing of it."""
        found = (each for each in self.versions if (each.model, each.version) == (model, version))
        return next(found, None)


@dataclass(frozen=True)
class Address:
    """Where one pod is asked. host: the name that led there, for its Host header and certificate; problem: it led
    nowhere.
    """

    pool: str
    url: httpx.URL
    host: str
    problem: str = ""


def fleet() -> list[PodView]:
    """The pods of both pools, those of the CPU first; as `pods`."""
    return _ask_all(POOLS)


def pods(pool: str) -> list[PodView]:
    """Every pod behind the pool's addresses, asked all at once. Takes a second at most, and never raises.

    A pod that two addresses lead to is told once. pool: "cpu" or "gpu".
    """
    return _ask_all([pool])


def _ask_all(pools: Sequence[str]) -> list[PodView]:
    until = time.monotonic() + WITHIN
    configured = [(pool, url) for pool in pools for url in _configured(pool)]
    found = _together(_addresses, configured, until)
    addresses = [
        address
        for (pool, url), several in zip(configured, found, strict=True)
        for address in several or [Address(pool, httpx.URL(url), "", "Its name could not be looked up in time.")]
    ]
    answers = _together(_ask, addresses, until)
    views = [
        answer or _unreachable(address, f"It gave no answer within {WITHIN:g} s.")
        for address, answer in zip(addresses, answers, strict=True)
    ]
    return list({view.pod or view.address: view for view in reversed(views)}.values())[::-1]


def _configured(pool: str) -> list[str]:
    if pool == "cpu":
        return settings.SCORING_CPU_PODS or [settings.SCORING_CPU_URL]
    return settings.SCORING_GPU_PODS or [settings.SCORING_GPU_URL]


def _addresses(pool_and_url: tuple[str, str]) -> list[Address]:
    """One for each pod that the name in the URL stands for."""
    pool, text = pool_and_url
    url = httpx.URL(text)
    try:
        found = network.resolve(url.host)
    except OSError as error:
        return [Address(pool, url, url.host, f"The name {url.host} leads nowhere: {error.strerror or error}.")]
    return [Address(pool, url.copy_with(host=each), url.netloc.decode()) for each in found]


def _ask(address: Address) -> PodView:
    if address.problem:
        return _unreachable(address, address.problem)
    kept, new = _clients()
    request = kept.build_request(
        "GET",
        address.url.join("/v2/pod"),
        headers={
            "Host": address.host,
            **({"Authorization": f"Bearer {settings.SCORING_TOKEN}"} if settings.SCORING_TOKEN else {}),
        },
        extensions={"sni_hostname": address.host.partition(":")[0]},
    )
    try:
        try:
            answer = kept.send(request)
        except (httpx.NetworkError, httpx.ProtocolError):  # a kept connection may lead to a process that is gone
            answer = new.send(request)
    except httpx.TransportError as error:
        return _unreachable(address, f"It cannot be reached: {error or type(error).__name__}.")
    if answer.status_code == 401:
        return _unreachable(address, "It refuses our SCORING_TOKEN.")
    if answer.status_code != 200:
        return _unreachable(address, f"It answered {answer.status_code} when asked for its state.")
    try:
        state = decode_json(answer.content, PodState)
    except ContractError as error:
        return _unreachable(address, f"What it says of its state cannot be read: {error}.")
    return _view(address, state)


def _view(address: Address, state: PodState) -> PodView:
    return PodView(
        address=_shown(address),
        pool=address.pool,
        reachable=True,
        pod=state.pod,
        ready=state.ready,
        reason=state.reason,
        started_at=state.started_at,
        device=state.device,
        memory=state.memory,
        memory_limit=state.memory_limit,
        store_problem=state.store_problem,
        versions=tuple(
            PodVersionView(
                model=each.model,
                version=each.version,
                state=each.state,
                reason=each.reason,
                role=each.role,
                answering=each.answering,
                load_seconds=each.load_seconds,
            )
            for each in state.versions
        ),
    )


def _unreachable(address: Address, problem: str) -> PodView:
    return PodView(address=_shown(address), pool=address.pool, reachable=False, problem=problem)


def _shown(address: Address) -> str:
    return address.url.netloc.decode()


def close() -> None:
    """Closes all connections; the next question opens new ones."""
    for client in _clients():
        client.close()
    _client.cache_clear()


# Together, with an end ------------------------------------------------------------------------------------------------


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fleet")


def _clients() -> tuple[httpx.Client, httpx.Client]:
    """One whose connections are used again, and one that opens a new one each time."""
    with _opening:  # `cache` alone lets two threads make one each
        return _client(kept=True), _client(kept=False)


@cache
def _client(*, kept: bool) -> httpx.Client:
    return httpx.Client(
        transport=network.new_transport(network.POOLED if kept else network.UNPOOLED),
        timeout=httpx.Timeout(WITHIN, connect=CONNECT_WITHIN),
        trust_env=False,
    )


def _together(call: Callable[[Item], Result], items: Sequence[Item], until: float) -> list[Result | None]:
    """What the call returns for each item, in their order; None for those that are not done in time."""
    with _opening:
        threads = _threads()
    calls = [threads.submit(copy_context().run, call, item) for item in items]
    done, late = wait(calls, timeout=max(0.0, until - time.monotonic()))
    for each in late:
        each.cancel()
    return [each.result() if each in done else None for each in calls]

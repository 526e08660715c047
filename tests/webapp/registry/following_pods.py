"""Pods that answer from memory and follow the store as real ones do: the network is swapped, nothing else."""

from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import msgspec

from scoring_service.contract import PodState, PodVersion, Routing


@dataclass
class FollowingPod:
    """One pod. It looks at the store whenever it is asked for its state; a version takes `looks` of them to load.

    broken: versions that it cannot load, and why. ready: whether it says so; there: whether it answers at all;
    follows: whether it looks at the store.
    """

    name: str
    looks: int = 1
    broken: dict[str, str] = field(default_factory=dict)
    ready: bool = True
    there: bool = True
    follows: bool = True
    store_problem: str = ""
    loading: dict[tuple[str, str], int] = field(default_factory=dict)
    answering: dict[str, str] = field(default_factory=dict)
    roles: dict[tuple[str, str], str] = field(default_factory=dict)

    def look(self, store: Path) -> None:
        if not self.follows:
            return
        self.roles = {}
        for path in store.glob("*/routing.json"):
            model = path.parent.name
            routing = msgspec.json.decode(path.read_bytes(), type=Routing)
            self.roles |= {(model, version): role for version, role in routing.roles().items()}
        # What it still answers with is kept until it can answer with another.
        kept = {*self.roles, *self.answering.items()}
        self.loading = {key: looks for key, looks in self.loading.items() if key in kept}
        for key, role in self.roles.items():
            self.loading[key] = self.loading.get(key, self.looks + 1) - 1
            if role == "champion" and self.has(*key):
                self.answering[key[0]] = key[1]

    def has(self, model: str, version: str) -> bool:
        return version not in self.broken and self.loading.get((model, version), 1) <= 0

    @property
    def state(self) -> PodState:
        versions = [self._version(model, version) for model, version in self.loading]
        return PodState(
            pod=self.name, pool="cpu", ready=self.ready, versions=versions, store_problem=self.store_problem
        )

    def _version(self, model: str, version: str) -> PodVersion:
        if version in self.broken:
            return PodVersion(model=model, version=version, state="UNAVAILABLE", reason=self.broken[version])
        return PodVersion(
            model=model,
            version=version,
            state="READY" if self.has(model, version) else "LOADING",
            role=self.roles.get((model, version), ""),
            answering=self.answering.get(model) == version,
        )


class FollowingPods(httpx.BaseTransport):
    """The network with two such pods on it. asked: how often one of them was asked for its state."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.pods = {7001: FollowingPod("pod-1"), 7002: FollowingPod("pod-2")}
        self.asked = 0

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.pods]

    def __getitem__(self, number: int) -> FollowingPod:
        return list(self.pods.values())[number]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        pod = self.pods[request.url.port or 0]
        if not pod.there:
            raise httpx.ConnectError("Connection refused")
        pod.look(self.store)
        return httpx.Response(200, content=msgspec.json.encode(pod.state))

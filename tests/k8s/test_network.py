"""Who can reach whom when the cluster enforces the network policies: the edges that are meant, and no other."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.k8s.manifests import OVERLAYS, Object, Workload, of_kind, render, selected, workload, workloads

SITE = ("web", "worker", "worker-batch", "trainer", "beat", "setup")
ASKING = ("web", "worker", "worker-batch", "setup")  # pods
PUBLIC, METADATA, INSIDE = "93.184.215.14", "169.254.169.254", "10.0.0.4"


def policies(objects: list[Object], pod: Workload, way: str) -> list[Mapping[str, Any]]:
    return [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if selected(each["spec"]["podSelector"], pod.labels) and way in each["spec"]["policyTypes"]
    ]


def passes(objects: list[Object], pod: Workload, way: str, peer: Workload | str, port: int) -> bool:
    """Whether the pod's policies let it out to the peer, or the peer in. peer: a pod of ours or an address."""
    own = policies(objects, pod, way)
    rules = [rule for policy in own for rule in policy.get(way.lower(), [])]
    return not own or any(_fits(rule, way, peer, port) for rule in rules)


def _fits(rule: Mapping[str, Any], way: str, peer: Workload | str, port: int) -> bool:
    if "ports" in rule and port not in [each["port"] for each in rule["ports"]]:
        return False
    return any(_is(each, peer) for each in rule["to" if way == "Egress" else "from"])


def _is(said: Mapping[str, Any], peer: Workload | str) -> bool:
    if isinstance(peer, str):
        block = said.get("ipBlock", {"cidr": "0.0.0.0/32"})
        outside = any(ip_address(peer) in ip_network(each) for each in block.get("except", []))
        return ip_address(peer) in ip_network(block["cidr"]) and not outside
    return "namespaceSelector" not in said and "podSelector" in said and selected(said["podSelector"], peer.labels)


def edges(objects: list[Object]) -> Iterator[tuple[str, str, int]]:
    for source in workloads(objects):
        for target in workloads(objects):
            for container in target.containers:
                for each in container.get("ports", []):
                    port = each["containerPort"]
                    out = passes(objects, source, "Egress", target, port)
                    if out and passes(objects, target, "Ingress", source, port):
                        yield source.name, target.name, port


def test_pods_reach_one_another_by_the_edges_that_are_meant() -> None:
    found = set(edges(render("overlays/local")))
    meant = {(source, pool, 8001) for source in ASKING for pool in ("scoring-cpu", "scoring-gpu")}
    meant |= {(source, "postgres", 5432) for source in SITE}
    meant |= {(source, "redis", 6379) for source in SITE}
    assert found == meant


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mails_and_webhooks_go_out_and_only_to_public_addresses(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    out = {pod.name for pod in workloads(objects) if passes(objects, pod, "Egress", PUBLIC, 443)}
    looking = {"beat"} if overlay == "aks" else set()  # at the certificate of the public address
    assert out == {"web", "worker"} | looking
    for pod in workloads(objects):
        assert not passes(objects, pod, "Egress", METADATA, 80)
        assert not passes(objects, pod, "Egress", METADATA, 443)
        assert not passes(objects, pod, "Egress", INSIDE, 443)


def test_azures_database_and_redis_are_reached_by_the_site_alone() -> None:
    objects = render("overlays/aks")
    for address, port in (("10.20.2.4", 5432), ("10.20.3.4", 10000)):
        reached = {pod.name for pod in workloads(objects) if passes(objects, pod, "Egress", address, port)}
        assert reached == set(SITE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_without_a_policy(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    for pod in workloads(objects):
        assert policies(objects, pod, "Ingress")
        assert policies(objects, pod, "Egress")
    web = workload(objects, "web")
    assert not passes(objects, web, "Ingress", PUBLIC, 8000)

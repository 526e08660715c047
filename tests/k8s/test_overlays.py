"""What is particular to an overlay: images, addresses, the order in which objects come."""

import re

import pytest

from tests.k8s.manifests import K8S, OVERLAYS, environment, find, of_kind, render, workload, workloads


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_namespace_comes_before_what_is_in_it(overlay: str) -> None:
    there = {"kube-system", "default"}
    for each in render(f"overlays/{overlay}"):
        if each["kind"] == "Namespace":
            there.add(each["metadata"]["name"])
        elif "namespace" in each["metadata"]:
            assert each["metadata"]["namespace"] in there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_has_a_version(overlay: str) -> None:
    for pod in workloads(render(f"overlays/{overlay}")):
        for container in pod.containers:
            assert re.fullmatch(r"[\w.-]+(/[\w.-]+)*:[\w.-]+", container["image"])
            assert not container["image"].endswith(":latest")


def test_all_that_is_particular_to_a_subscription_comes_from_one_file() -> None:
    """Each value of cluster.env is used, and nothing that stood in for one is left."""
    lines = (K8S / "overlays" / "aks" / "cluster.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    text = str(render("overlays/aks"))
    assert [name for name, value in values.items() if value not in text] == []
    for stand_in in ("registry.example.org", "00000000-0000-0000-0000-000000000000'}", "prometheus-operated"):
        assert stand_in not in text


def test_images_come_from_the_cluster_s_own_registry() -> None:
    for pod in workloads(render("overlays/aks")):
        for container in pod.containers:
            assert container["image"].startswith("scorepodexample.azurecr.io/scorepod-")
    [plugin] = of_kind(render("overlays/aks"), "DaemonSet")
    assert plugin["spec"]["template"]["spec"]["containers"][0]["image"].startswith("scorepodexample.azurecr.io/")


def test_gateway_site_and_routes_agree_on_the_name() -> None:
    objects = render("overlays/aks")
    host = find(objects, "HTTPRoute", "web")["spec"]["hostnames"][0]
    secure = find(objects, "Gateway", "scorepod")["spec"]["listeners"][1]
    env = environment(objects, workload(objects, "web").container("web"))
    assert secure["hostname"] == host
    assert env["PUBLIC_URL"] == f"https://{host}"


def test_plain_http_only_leads_to_https_for_good() -> None:
    objects = render("overlays/aks")
    plain = [
        route
        for route in of_kind(objects, "HTTPRoute")
        if any(parent["sectionName"] == "http" for parent in route["spec"]["parentRefs"])
    ]
    assert [route["metadata"]["name"] for route in plain] == ["to-https"]
    [rule] = plain[0]["spec"]["rules"]
    assert rule == {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]}
    [web] = find(objects, "HTTPRoute", "web")["spec"]["rules"]
    [header] = web["filters"][0]["responseHeaderModifier"]["set"]
    assert header == {"name": "Strict-Transport-Security", "value": "max-age=31536000"}


@pytest.mark.parametrize(("overlay", "proxies"), [("local", "1"), ("aks", "2")])
def test_the_site_counts_the_proxies_that_stand_in_front(overlay: str, proxies: str) -> None:
    objects = render(f"overlays/{overlay}")
    web = workload(objects, "web")
    assert environment(objects, web.container("web"))["TRUSTED_PROXY_COUNT"] == proxies
    forwarded = find(objects, "ConfigMap", "proxy-config")["data"]["forwarded.conf"]
    assert ("$proxy_add_x_forwarded_for" in forwarded) == (proxies == "2")


def test_each_gpu_pod_has_one_gpu_and_may_go_where_gpus_are() -> None:
    objects = render("overlays/aks")
    pod = workload(objects, "scoring-gpu")
    resources = pod.container("scoring")["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    tolerated = {(each["key"], each.get("value"), each["effect"]) for each in pod.pod["tolerations"]}
    assert tolerated == {("sku", "gpu", "NoSchedule"), ("nvidia.com/gpu", None, "NoSchedule")}
    others = [each for each in workloads(objects) if each.name != "scoring-gpu"]
    assert not any("nvidia.com/gpu" in str(each.pod) for each in others)
    assert "nvidia.com/gpu" not in str(workload(render("overlays/local"), "scoring-gpu").pod)


def test_what_autoscalers_scale_has_no_number_of_its_own() -> None:
    """Each deployment anew would put it back to that number."""
    objects = render("overlays/aks")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = workload(objects, scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target.source["spec"]


def test_workers_of_batches_and_trainings_rest_when_there_are_none() -> None:
    objects = render("overlays/aks")
    least = {each["metadata"]["name"]: each["spec"]["minReplicaCount"] for each in of_kind(objects, "ScaledObject")}
    assert least == {"worker": 1, "worker-batch": 0, "trainer": 0, "scoring-gpu": 1}
    queues = {
        each["metadata"]["name"]: each["spec"]["triggers"][0]["metadata"].get("listName")
        for each in of_kind(objects, "ScaledObject")
    }
    for called in ("worker", "worker-batch", "trainer"):
        assert workload(objects, called).container("worker")["command"][-1] == f"--queues={queues[called]}"

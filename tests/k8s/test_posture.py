"""What a security review asks of each pod: who it runs as, what it may take, how it starts, lives and ends."""

from collections.abc import Iterator

import pytest

from tests.k8s.manifests import (
    COMPONENTS,
    OVERLAYS,
    Object,
    Workload,
    environment,
    find,
    name,
    of_kind,
    render,
    render_with,
    selected,
    workload,
    workloads,
)

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def every_pod() -> list[Workload]:
    """Of all overlays and components, those that look alike once."""
    objects = [each for overlay in OVERLAYS for each in render(f"overlays/{overlay}")]
    objects += [each for component in COMPONENTS for each in render_with(component)]
    return list({repr(pod.source): pod for pod in workloads(objects)}.values())


def loose(pod: Workload) -> Iterator[str]:
    """What Pod Security "restricted" refuses, and what we want beyond it."""
    spec = pod.pod
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("runAsUser", 0) == 0:
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares the node's namespaces"
    if spec.get("automountServiceAccountToken") is not False:
        yield "gets a token of the cluster"
    if spec.get("enableServiceLinks") is not False:
        yield "gets the addresses of all services into its environment"
    if spec.get("serviceAccountName") != pod.name:
        yield "has not its own service account"
    if not spec.get("priorityClassName", "").startswith("scorepod-"):
        yield "has no priority"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"has a volume of the kind {kinds}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"may fill the node's disk by {volume['name']}"
    for container in pod.containers:
        called = container["name"]
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{called} may get more rights"
        if own.get("capabilities", {}) != {"drop": ["ALL"]}:
            yield f"{called} has capabilities"
        if not own.get("readOnlyRootFilesystem"):
            yield f"{called} may write into its image"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{called} takes a port of the node"
        for bound in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(container.get("resources", {}).get(bound, {})):
                yield f"{called} says no {bound}"
        if any(each["name"].endswith(("SECRET", "PASSWORD", "TOKEN", "KEY")) for each in container.get("env", [])):
            yield f"{called} has a secret in its environment"
    for container in pod.lasting:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield f"{container['name']} has no {probe}"


def test_every_pod_is_locked_down() -> None:
    found = {name(pod.source): list(loose(pod)) for pod in every_pod()}
    assert {each: said for each, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("securityContext", "runAsUser"), 0, "may run as root"),
        (("securityContext", "seccompProfile", "type"), "Unconfined", "has no seccomp profile"),
        (("hostNetwork",), True, "shares the node's namespaces"),
        (("automountServiceAccountToken",), True, "gets a token of the cluster"),
        (("serviceAccountName",), "default", "has not its own service account"),
        (("volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}, "has a volume of the kind"),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "web may write into its image"),
        (("containers", 0, "securityContext", "capabilities", "add"), ["NET_ADMIN"], "web has capabilities"),
        (("containers", 0, "resources", "limits"), {"cpu": "1"}, "web says no limits"),
        (("containers", 0, "livenessProbe"), None, "web has no livenessProbe"),
        (("initContainers", 1, "startupProbe"), None, "proxy has no startupProbe"),
    ],
)
def test_a_pod_that_is_not_is_found(path: tuple[str | int, ...], value: object, said: str) -> None:
    web = workload(render("overlays/local"), "web")
    place = web.pod
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert said in "\n".join(loose(web))


def test_what_may_touch_a_node_is_one_and_touches_one_folder() -> None:
    """The GPUs' plugin, in a namespace of its own."""
    objects = render("overlays/aks")
    [plugin] = of_kind(objects, "DaemonSet")
    assert plugin["metadata"]["namespace"] == "gpu-resources"
    folders = [each["hostPath"]["path"] for each in plugin["spec"]["template"]["spec"]["volumes"]]
    assert folders == ["/var/lib/kubelet/device-plugins"]
    assert [each for each in objects if each["metadata"].get("namespace") == "gpu-resources"] == [plugin]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_refuses_pods_that_are_not_restricted(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    namespace = find(objects, "Namespace", "scorepod")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each.source["metadata"]["namespace"] for each in workloads(objects)} == {"scorepod"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_liveness_asks_nothing_that_other_things_can_break(overlay: str) -> None:
    asked = {
        container["livenessProbe"]["httpGet"]["path"]
        for pod in workloads(render(f"overlays/{overlay}"))
        for container in pod.lasting
        if "httpGet" in container.get("livenessProbe", {})
    }
    assert asked == {"/health/live", "/v2/health/live", "/proxy-health"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_given_the_time_that_their_longest_call_takes(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    for called in ("scoring-cpu", "scoring-gpu"):
        pod = workload(objects, called)
        [container] = pod.pod["containers"]
        env = environment(objects, container)
        ends = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(env["SCORING_NOT_READY_S"])
        assert pod.pod["terminationGracePeriodSeconds"] >= ends + int(env["SCORING_DRAIN_S"]) + 5
        # The longest that a request can ask for: SCORING_DEFAULT_DEADLINE_MS.
        assert int(env["SCORING_DRAIN_S"]) * 1000 >= int(env.get("SCORING_DEFAULT_DEADLINE_MS", "30000"))
    web = workload(objects, "web")
    env = environment(objects, web.container("web"))
    ends = web.container("web")["lifecycle"]["preStop"]["sleep"]["seconds"] + int(env["WEB_GRACEFUL_TIMEOUT_S"])
    assert web.pod["terminationGracePeriodSeconds"] >= ends + 5


def test_what_answers_people_is_never_taken_away_as_a_whole() -> None:
    """By a drain of nodes or a rolling update: budgets, and new pods before old ones go."""
    objects = render("base")
    budgets = of_kind(objects, "PodDisruptionBudget")
    for called in ("web", "scoring-cpu", "scoring-gpu"):
        pod = workload(objects, called)
        assert any(selected(each["spec"]["selector"], pod.labels) for each in budgets)
        assert pod.source["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        spread = [each["topologyKey"] for each in pod.pod["topologySpreadConstraints"]]
        assert spread == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_nodes_that_are_emptied_take_one_pod_of_a_kind_at_a_time() -> None:
    """Also where there is but one: a budget that lets none go would keep the node for ever."""
    objects = render("base")
    budgets = of_kind(objects, "PodDisruptionBudget")
    for pod in workloads(objects):
        if pod.source["kind"] == "Deployment" and pod.name != "beat":  # of which there is one, and for a moment none
            [budget] = [each for each in budgets if selected(each["spec"]["selector"], pod.labels)]
            assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_quota_has_room_for_all_that_the_autoscalers_may_start(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    [quota] = of_kind(objects, "ResourceQuota")
    hard = quota["spec"]["hard"]
    most = at_most(objects)
    assert {what: amount for what, amount in most.items() if what in hard and amount > number(hard[what])} == {}


def at_most(objects: list[Object]) -> dict[str, float]:
    """What all pods take together when each autoscaler is at its end and each update has its pods more."""
    ends = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("maxReplicas") or each["spec"]["maxReplicaCount"]
        for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    }
    total: dict[str, float] = {}
    for pod in workloads(objects):
        pods = ends.get(pod.name, pod.source["spec"].get("replicas", 1)) + (pod.source["kind"] == "Deployment")
        total["pods"] = total.get("pods", 0) + pods
        for container in [*pod.lasting, *([] if pod.lasting else pod.pod["containers"])]:
            for bound, amounts in container["resources"].items():
                for what, amount in amounts.items():
                    key = f"{bound}.{what}"
                    total[key] = total.get(key, 0) + pods * number(amount)
    return total


def number(quantity: str | int) -> float:
    """A quantity of Kubernetes: "500m" is 0.5, "1Gi" 2^30."""
    text = str(quantity)
    for suffix, factor in {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    raise AssertionError(text)

"""What must fit together in a cluster, as a list of what does not. Rendering and schemas see none of it."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.k8s.manifests import (
    Object,
    Workload,
    environment,
    files,
    name,
    of_kind,
    selected,
    workloads,
)

FROM_THE_CLUSTER = {"default", "system-node-critical", "system-cluster-critical"}


def problems(objects: list[Object]) -> list[str]:
    """One line for each thing that leads nowhere; empty when all fits."""
    parts = (_doubles, _selectors, _pods, _storage, _autoscalers, _routes)
    return [each for part in parts for each in part(objects)]


def _doubles(objects: list[Object]) -> Iterator[str]:
    seen = set()
    for each in objects:
        key = (each["apiVersion"], each["metadata"].get("namespace"), name(each))
        if key in seen:
            yield f"{name(each)} is there twice"
        seen.add(key)


def _selectors(objects: list[Object]) -> Iterator[str]:
    pods = workloads(objects)
    for each in pods:
        selector = each.source["spec"].get("selector")
        if selector is not None and not selected(selector, each.labels):
            yield f"{name(each.source)} does not select its own pods"
        for spread in each.pod.get("topologySpreadConstraints", []):
            if not spread["labelSelector"].get("matchLabels") or not selected(spread["labelSelector"], each.labels):
                yield f"{name(each.source)} is not spread by its own pods"
    for each in of_kind(objects, "Service"):
        chosen = [pod for pod in pods if selected(each["spec"]["selector"], pod.labels)]
        if len(chosen) != 1:
            yield f"{name(each)} selects {len(chosen)} workloads, not one"
        for port in each["spec"]["ports"]:
            for pod in chosen:
                if port["targetPort"] not in ports(pod):
                    yield f"{name(each)} leads to port {port['targetPort']}, which {pod.name} has not"
    for each in of_kind(objects, "PodDisruptionBudget"):
        chosen = [pod for pod in pods if selected(each["spec"].get("selector", {}), pod.labels)]
        if len(chosen) != 1:
            yield f"{name(each)} is about {len(chosen)} workloads, not one"
    for each in of_kind(objects, "NetworkPolicy"):
        yield from _edges(each, pods)


def _edges(policy: Object, pods: list[Workload]) -> Iterator[str]:
    own = [pod for pod in pods if selected(policy["spec"]["podSelector"], pod.labels)]
    if not own:
        yield f"{name(policy)} is about no pods"
    for rule in policy["spec"].get("ingress", []):
        for port in rule.get("ports", []):
            for pod in own:
                if port["port"] not in ports(pod):
                    yield f"{name(policy)} opens port {port['port']}, which {pod.name} has not"
        for peer in rule.get("from", []):
            inside = "podSelector" in peer and "namespaceSelector" not in peer
            if inside and not any(selected(peer["podSelector"], pod.labels) for pod in pods):
                yield f"{name(policy)} lets in pods that there are not"
    for rule in policy["spec"].get("egress", []):
        for peer in rule.get("to", []):
            if "podSelector" not in peer or "namespaceSelector" in peer:
                continue
            reached = [pod for pod in pods if selected(peer["podSelector"], pod.labels)]
            if not reached:
                yield f"{name(policy)} lets out to pods that there are not"
            for pod in reached:
                for port in rule.get("ports", []):
                    if port["port"] not in ports(pod):
                        yield f"{name(policy)} lets out to port {port['port']}, which {pod.name} has not"


def ports(pod: Workload) -> set[str | int]:
    """Names and numbers under which the pod listens."""
    found = [port for container in pod.containers for port in container.get("ports", [])]
    return {port["name"] for port in found} | {port["containerPort"] for port in found}


def _pods(objects: list[Object]) -> Iterator[str]:
    for pod in workloads(objects):
        yield from _named(objects, pod)
        for container in pod.containers:
            where = f"{name(pod.source)}, container {container['name']}"
            yield from (f"{where}: {problem}" for problem in _container(objects, pod, container))


def _named(objects: list[Object], pod: Workload) -> Iterator[str]:
    where = name(pod.source)
    have = {(each["kind"], each["metadata"]["name"]) for each in objects}
    account = pod.pod.get("serviceAccountName", "default")
    wanted = [("ServiceAccount", account), ("PriorityClass", pod.pod.get("priorityClassName", "default"))]
    for volume in pod.pod.get("volumes", []):
        if "configMap" in volume:
            wanted.append(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            wanted.append(("Secret", volume["secret"]["secretName"]))
        if "persistentVolumeClaim" in volume:
            wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        if "csi" in volume:
            wanted.append(("SecretProviderClass", volume["csi"]["volumeAttributes"]["secretProviderClass"]))
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        if volume["name"] not in mounted:
            yield f"{where}: nothing mounts the volume {volume['name']}"
    for container in pod.containers:
        wanted += [("ConfigMap", source["configMapRef"]["name"]) for source in container.get("envFrom", [])]
    for kind, called in wanted:
        if (kind, called) not in have and called not in FROM_THE_CLUSTER:
            yield f"{where}: there is no {kind} {called}"


def _container(objects: list[Object], pod: Workload, container: Mapping[str, Any]) -> Iterator[str]:
    own = {port["name"] for port in container.get("ports", [])}
    own |= {port["containerPort"] for port in container.get("ports", [])}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        for way in ("httpGet", "tcpSocket", "grpc"):
            if way in probe and probe[way]["port"] not in own:
                yield f"its {kind} asks port {probe[way]['port']}, which it has not"
    for mount in container.get("volumeMounts", []):
        if not pod.volume(mount["name"]):
            yield f"there is no volume {mount['name']}"
    try:
        values = environment(objects, container)
        there = files(objects, pod, container)
    except KeyError:
        return  # _named says what is missing
    for mount in container.get("volumeMounts", []):
        if "subPath" in mount and mount["mountPath"] not in there:
            yield f"there is no key {mount['subPath']} for {mount['mountPath']}"
    services = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
    for variable, value in values.items():
        if variable.endswith("_FILE") and value not in there:
            yield f"{variable} names {value}, which nothing puts there"
        if value.startswith("http://") and variable != "PUBLIC_URL":
            url = urlsplit(value)
            if url.hostname not in services:
                yield f"{variable} leads to {url.hostname}, which is no service"
            elif url.port not in [port["port"] for port in services[url.hostname]["spec"]["ports"]]:
                yield f"{variable} leads to port {url.port}, which the service has not"


def _storage(objects: list[Object]) -> Iterator[str]:
    claims = {each["metadata"]["name"]: each for each in of_kind(objects, "PersistentVolumeClaim")}
    for each in of_kind(objects, "PersistentVolume"):
        claim = claims.get(each["spec"]["claimRef"]["name"])
        if claim is None:
            yield f"{name(each)} is for the claim {each['spec']['claimRef']['name']}, which is not there"
        elif claim["spec"].get("storageClassName") != each["spec"]["storageClassName"]:
            yield f"{name(each)} and its claim are of different storage classes"
        elif claim["metadata"]["namespace"] != each["spec"]["claimRef"]["namespace"]:
            yield f"{name(each)} and its claim are in different namespaces"


def _autoscalers(objects: list[Object]) -> Iterator[str]:
    have = {name(pod.source): pod for pod in workloads(objects)}
    scaled: dict[str, str] = {}
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        called = f"{target.get('kind', 'Deployment')}/{target['name']}"
        if called not in have:
            yield f"{name(each)} scales {called}, which is not there"
            continue
        if called in scaled:
            yield f"{name(each)} and {scaled[called]} both scale {called}"
        scaled[called] = name(each)
        for metric in each["spec"].get("metrics", []):
            wanted = metric.get("containerResource", {}).get("container")
            if wanted and wanted not in [container["name"] for container in have[called].lasting]:
                yield f"{name(each)} looks at container {wanted}, which {called} has not"
    authentications = {
        each["metadata"]["name"] for each in of_kind(objects, "TriggerAuthentication", "ClusterTriggerAuthentication")
    }
    secrets = {each["metadata"]["name"] for each in of_kind(objects, "Secret")}
    for each in of_kind(objects, "TriggerAuthentication"):
        for wanted in each["spec"].get("secretTargetRef", []):
            if wanted["name"] not in secrets:
                yield f"{name(each)}: there is no Secret {wanted['name']}"
    for each in of_kind(objects, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            called = trigger.get("authenticationRef", {}).get("name")
            if called and called not in authentications:
                yield f"{name(each)}: there is no TriggerAuthentication {called}"


def _routes(objects: list[Object]) -> Iterator[str]:
    services = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
    gateways = {each["metadata"]["name"]: each for each in of_kind(objects, "Gateway")}
    have = {
        (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
        for each in objects
        if "namespace" in each["metadata"]
    }
    for gateway in gateways.values():
        place = gateway["metadata"]["namespace"]
        parameters = gateway["spec"].get("infrastructure", {}).get("parametersRef")
        if parameters and (parameters["kind"], place, parameters["name"]) not in have:
            yield f"{name(gateway)}: there is no {parameters['kind']} {parameters['name']} in {place}"
        for listener in gateway["spec"]["listeners"]:
            account = listener.get("tls", {}).get("options", {}).get("kubernetes.azure.com/tls-cert-service-account")
            if account and ("ServiceAccount", place, account) not in have:
                yield f"{name(gateway)}: there is no ServiceAccount {account} in {place}"
    for route in of_kind(objects, "HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            gateway = gateways.get(parent["name"])
            if gateway is None or gateway["metadata"]["namespace"] != parent["namespace"]:
                yield f"{name(route)} belongs to the gateway {parent['name']}, which is not there"
            elif parent.get("sectionName") not in [listener["name"] for listener in gateway["spec"]["listeners"]]:
                yield f"{name(route)} belongs to {parent.get('sectionName')}, which the gateway does not listen on"
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                service = services.get(backend["name"])
                if service is None:
                    yield f"{name(route)} leads to the service {backend['name']}, which is not there"
                elif backend["port"] not in [port["port"] for port in service["spec"]["ports"]]:
                    yield f"{name(route)} leads to port {backend['port']}, which {backend['name']} has not"

"""Every label, port, volume, key, secret and account that a manifest refers to is there."""

from collections.abc import Callable

import pytest

from tests.k8s.manifests import COMPONENTS, OVERLAYS, Object, find, render, render_with, workload
from tests.k8s.references import problems


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_an_overlay_refers_to_is_there(overlay: str) -> None:
    assert problems(render(f"overlays/{overlay}")) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_refers_to_nothing_that_base_and_it_lack_but_secrets(component: str) -> None:
    found = problems(render_with(component))
    assert [each for each in found if "there is no Secret " not in each] == []


def _selector(objects: list[Object]) -> None:
    find(objects, "Service", "web")["spec"]["selector"] = {"app.kubernetes.io/name": "wed"}


def _target_port(objects: list[Object]) -> None:
    find(objects, "Service", "scoring-cpu")["spec"]["ports"][0]["targetPort"] = "https"


def _probe(objects: list[Object]) -> None:
    workload(objects, "web").container("web")["livenessProbe"]["httpGet"]["port"] = 8080


def _volume(objects: list[Object]) -> None:
    workload(objects, "web").container("web")["volumeMounts"][0]["name"] = "temp"


def _unmounted(objects: list[Object]) -> None:
    workload(objects, "beat").pod["volumes"].append({"name": "more", "emptyDir": {}})


def _config(objects: list[Object]) -> None:
    workload(objects, "worker").container("worker")["envFrom"][0]["configMapRef"]["name"] = "site-env"


def _key(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "proxy-config")["data"].pop("forwarded.conf")


def _secret_key(objects: list[Object]) -> None:
    find(objects, "Secret", "site-secrets")["data"].pop("WEBHOOK_KEYS")


def _secret(objects: list[Object]) -> None:
    objects.remove(find(objects, "Secret", "scoring-secrets"))


def _account(objects: list[Object]) -> None:
    objects.remove(find(objects, "ServiceAccount", "trainer"))


def _claim(objects: list[Object]) -> None:
    objects.remove(find(objects, "PersistentVolumeClaim", "models"))


def _priority(objects: list[Object]) -> None:
    objects.remove(find(objects, "PriorityClass", "scorepod-background"))


def _address(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "site-env")["data"]["SCORING_CPU_URL"] = "http://scoring:8000"


def _port_of_address(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "site-env")["data"]["SCORING_CPU_URL"] = "http://scoring-cpu:8001"


def _budget(objects: list[Object]) -> None:
    find(objects, "PodDisruptionBudget", "web")["spec"]["selector"]["matchLabels"]["tier"] = "front"


def _edge(objects: list[Object]) -> None:
    policy = find(objects, "NetworkPolicy", "site-to-pods")
    policy["spec"]["egress"][0]["ports"][0]["port"] = 8000


def _scaled_twice(objects: list[Object]) -> None:
    spec = {"scaleTargetRef": {"name": "web"}, "triggers": []}
    one = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "one"}, "spec": spec}
    objects += [one, {**one, "metadata": {"name": "two"}}]


def _spread(objects: list[Object]) -> None:
    workload(objects, "web").pod["topologySpreadConstraints"][0]["labelSelector"] = {"matchLabels": {}}


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_selector, "Service/web selects 0 workloads"),
        (_target_port, "leads to port https"),
        (_probe, "its livenessProbe asks port 8080"),
        (_volume, "there is no volume temp"),
        (_unmounted, "nothing mounts the volume more"),
        (_config, "there is no ConfigMap site-env"),
        (_key, "there is no key forwarded.conf"),
        (_secret_key, "WEBHOOK_KEYS_FILE names /run/secrets/scorepod/WEBHOOK_KEYS"),
        (_secret, "there is no Secret scoring-secrets"),
        (_account, "there is no ServiceAccount trainer"),
        (_claim, "there is no PersistentVolumeClaim models"),
        (_priority, "there is no PriorityClass scorepod-background"),
        (_address, "leads to scoring, which is no service"),
        (_port_of_address, "leads to port 8001, which the service has not"),
        (_budget, "PodDisruptionBudget/web is about 0 workloads"),
        (_edge, "lets out to port 8000, which scoring-cpu has not"),
        (_scaled_twice, "both scale Deployment/web"),
        (_spread, "is not spread by its own pods"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(break_it: Callable[[list[Object]], None], said: str) -> None:
    objects = render("overlays/local")
    break_it(objects)
    assert said in "\n".join(problems(objects))


def _route(objects: list[Object]) -> None:
    find(objects, "HTTPRoute", "web")["spec"]["rules"][0]["backendRefs"][0]["port"] = 8000


def _listener(objects: list[Object]) -> None:
    find(objects, "HTTPRoute", "to-https")["spec"]["parentRefs"][0]["sectionName"] = "plain"


def _vault(objects: list[Object]) -> None:
    objects.remove(find(objects, "SecretProviderClass", "scoring"))


def _alias(objects: list[Object]) -> None:
    parameters = find(objects, "SecretProviderClass", "site")["spec"]["parameters"]
    parameters["objects"] = parameters["objects"].replace("objectAlias: REDIS_URL", "objectAlias: REDIS")


def _volume_of(objects: list[Object]) -> None:
    find(objects, "PersistentVolume", "scorepod-models")["spec"]["claimRef"]["name"] = "model"


def _certificate(objects: list[Object]) -> None:
    objects.remove(find(objects, "ServiceAccount", "certificate"))


def _trigger(objects: list[Object]) -> None:
    objects.remove(find(objects, "TriggerAuthentication", "redis"))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_route, "leads to port 8000, which web has not"),
        (_listener, "belongs to plain, which the gateway does not listen on"),
        (_vault, "there is no SecretProviderClass scoring"),
        (_alias, "REDIS_URL_FILE names /run/secrets/scorepod/REDIS_URL, which nothing puts there"),
        (_volume_of, "is for the claim model, which is not there"),
        (_certificate, "there is no ServiceAccount certificate in scorepod-gateway"),
        (_trigger, "there is no TriggerAuthentication redis"),
    ],
)
def test_a_reference_that_leads_nowhere_in_azure_is_found(break_it: Callable[[list[Object]], None], said: str) -> None:
    objects = render("overlays/aks")
    break_it(objects)
    assert said in "\n".join(problems(objects))

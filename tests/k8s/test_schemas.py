"""Each object is what Kubernetes takes, down to the last field. test_crds.py looks at the kinds that others add."""

import functools
import json
from typing import Any

import kubernetes_validate
import pytest

from tests.k8s.manifests import RENDERED, Object, find, name, render, rendered

OLDEST = "1.32"
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
OF_OTHERS = {  # groups of custom resources
    "azmonitoring.coreos.com",
    "gateway.networking.k8s.io",
    "keda.sh",
    "monitoring.coreos.com",
    "secrets-store.csi.x-k8s.io",
}


def complaints(objects: list[Object], version: str) -> list[str]:
    """What Kubernetes of that version would refuse."""
    return [said for each in objects if (said := _complaint(json.dumps(each), version))]


@functools.cache
def _complaint(text: str, version: str) -> str:
    """Remembered: most objects are in all overlays."""
    an_object = json.loads(text)
    try:
        kubernetes_validate.validate(an_object, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        if an_object["apiVersion"].partition("/")[0] not in OF_OTHERS:
            return f"{name(an_object)}: nobody knows {an_object['kind']} of {an_object['apiVersion']}"
    except kubernetes_validate.ValidationError as error:
        return f"{name(an_object)}: {'.'.join(map(str, error.path))}: {error.message}"
    return ""


@pytest.mark.parametrize("what", RENDERED)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(what: str, version: str) -> None:
    objects = rendered(what)
    assert objects
    assert complaints(objects, version) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Gadget"}, "nobody knows Gadget of apps/v1"),
        ({"apiVersion": "extensions/v1beta1"}, "nobody knows Deployment of extensions/v1beta1"),
        ({"spec": {"template": {"spec": {"restartPolice": "Never"}}}}, "restartPolice"),
        ({"spec": {"replicas": "two"}}, "is not of type 'integer'"),
    ],
)
def test_what_kubernetes_does_not_know_is_found(change: dict[str, Any], said: str) -> None:
    web = find(render("overlays/local"), "Deployment", "web")
    [found] = complaints([merged(web, change)], OLDEST)
    assert said in found


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        key: merged(one[key], value) if isinstance(value, dict) and isinstance(one.get(key), dict) else value
        for key, value in {**one, **other}.items()
    }

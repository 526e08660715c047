"""Objects of kinds that others add to Kubernetes are what their own schemas say, unknown fields and kinds included."""

import json
import subprocess
from typing import Any

import pytest

from tests.k8s.manifests import RENDERED, ROOT, Object, rendered
from tests.k8s.test_schemas import OF_OTHERS

ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "web", "labels": {"any": "label"}},
    "spec": {
        "parentRefs": [{"name": "gateway", "sectionName": "http"}],
        "rules": [
            {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]}
        ],
    },
}
SCALED = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "worker"},
    "spec": {"scaleTargetRef": {"name": "worker"}, "triggers": [{"type": "redis", "metadata": {"any": "key"}}]},
}


def complaints(objects: list[Object]) -> list[str]:
    command = ["node", str(ROOT / "tests/k8s/crds/validate.mjs")]
    done = subprocess.run(command, input=json.dumps(objects), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", RENDERED)
def test_custom_resources_are_valid(what: str) -> None:
    theirs = [each for each in rendered(what) if each["apiVersion"].partition("/")[0] in OF_OTHERS]
    assert complaints(theirs) == []


def test_a_resource_without_fault_passes() -> None:
    assert complaints([ROUTE, SCALED]) == []


@pytest.mark.parametrize(
    ("resource", "change", "said"),
    [
        (ROUTE, {"kind": "HTTPRoot"}, "nobody knows the kind HTTPRoot"),
        (ROUTE, {"apiVersion": "gateway.networking.k8s.io/v9"}, "nobody knows the kind HTTPRoute"),
        (
            ROUTE,
            {"spec": {"parentRefs": [{"name": "g", "sectioName": "x"}]}},
            "spec.parentRefs.0.sectioName is unknown",
        ),
        (ROUTE, {"spec": {"hostnames": "example.org"}}, "/spec/hostnames"),
        (SCALED, {"spec": {"triggers": []}}, "scaleTargetRef"),
        (SCALED, {"spec": {**SCALED["spec"], "cooldown": 3}}, "spec.cooldown is unknown"),
    ],
)
def test_a_fault_is_found(resource: Object, change: dict[str, Any], said: str) -> None:
    assert said in "\n".join(complaints([{**resource, **change}]))

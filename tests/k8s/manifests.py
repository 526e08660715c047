"""What the manifests in k8s/ come to: rendered by kubectl, with ways to ask for their parts."""

import base64
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.environment import SCRATCH

ROOT = Path(__file__).resolve().parent.parent.parent
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir() if (path / "kustomization.yaml").exists())
_FOLDER = K8S / "components"
COMPONENTS = sorted(
    path.parent.relative_to(_FOLDER).as_posix()
    for path in _FOLDER.rglob("kustomization.yaml")
    if "kind: Component" in path.read_text()
)
RENDERED = [*(f"overlays/{each}" for each in OVERLAYS), *(f"components/{each}" for each in COMPONENTS)]

Object = dict[str, Any]


def kubectl() -> str:
    """The one of the requirements: each machine renders with the same."""
    return shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"


@functools.cache
def checkout() -> Path:
    """A copy of k8s/ with the secrets that a laptop's cluster makes up."""
    copy = Path(tempfile.mkdtemp(dir=SCRATCH)) / "k8s"
    shutil.copytree(K8S, copy, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([copy / "overlays" / "local" / "make_secrets.sh"], check=True, capture_output=True)
    return copy


@functools.cache
def _text(folder: str) -> str:
    done = subprocess.run(
        [kubectl(), "kustomize", checkout() / folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: str) -> list[Object]:
    """All objects of a folder below k8s/, made anew: the caller may change them."""
    return [each for each in yaml.safe_load_all(_text(folder)) if each]


def render_with(component: str) -> list[Object]:
    """base with one component."""
    folder = checkout() / "tried" / component
    folder.mkdir(parents=True, exist_ok=True)
    up = "/".join([".."] * (component.count("/") + 2))
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [f"{up}/base"], "components": [f"{up}/components/{component}"]})
    )
    return render(f"tried/{component}")


def rendered(what: str) -> list[Object]:
    """An overlay, or base with a component: one of RENDERED."""
    folder, _, called = what.partition("/")
    return render(what) if folder == "overlays" else render_with(called)


def name(an_object: Object) -> str:
    return f"{an_object['kind']}/{an_object['metadata']['name']}"


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def find(objects: list[Object], kind: str, called: str) -> Object:
    """The object. called: its name, without the hash at its end if it has one. Raises KeyError where there is none."""
    by_name = {each["metadata"]["name"]: each for each in of_kind(objects, kind)}
    return by_name.get(called) or {each.rpartition("-")[0]: by_name[each] for each in by_name}[called]


@dataclass(frozen=True)
class Workload:
    """What makes pods. It shares its parts with the object that it was read from."""

    source: Object

    @property
    def name(self) -> str:
        return str(self.source["metadata"]["name"])

    @property
    def pod(self) -> dict[str, Any]:
        return self.source["spec"]["template"]["spec"]

    @property
    def labels(self) -> Mapping[str, str]:
        return self.source["spec"]["template"]["metadata"]["labels"]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All, also those that run before the others."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def lasting(self) -> list[dict[str, Any]]:
        """Those that run until somebody ends them."""
        if self.source["kind"] == "Job":
            return []
        beside = [each for each in self.pod.get("initContainers", []) if each.get("restartPolicy") == "Always"]
        return [*beside, *self.pod["containers"]]

    def container(self, called: str) -> dict[str, Any]:
        return next(each for each in self.containers if each["name"] == called)

    def volume(self, called: str) -> dict[str, Any]:
        claims = [each["metadata"]["name"] for each in self.source["spec"].get("volumeClaimTemplates", [])]
        if called in claims:
            return {"name": called, "claimTemplate": {}}
        return next((each for each in self.pod.get("volumes", []) if each["name"] == called), {})


def workloads(objects: list[Object]) -> list[Workload]:
    return [Workload(each) for each in of_kind(objects, "Deployment", "StatefulSet", "Job")]


def workload(objects: list[Object], called: str) -> Workload:
    return next(each for each in workloads(objects) if each.name == called)


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, or a Service's map of labels, takes the labels in."""
    if "matchExpressions" in selector or "matchLabels" in selector:
        wanted = selector.get("matchLabels", {})
        expressions = selector.get("matchExpressions", [])
    else:
        wanted, expressions = selector, []
    for each in expressions:
        value = labels.get(each["key"])
        fits = {
            "In": value in each.get("values", []),
            "NotIn": value not in each.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[each["operator"]]
        if not fits:
            return False
    return all(labels.get(key) == value for key, value in wanted.items())


def environment(objects: list[Object], container: Mapping[str, Any]) -> dict[str, str]:
    """What the container finds in its environment. Raises KeyError for a ConfigMap that is not there."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for each in container.get("env", []):
        found[each["name"]] = each.get("value", "")
    return found


def named(objects: list[Object], kind: str, exactly: str) -> Object:
    """Raises KeyError where there is none."""
    return {each["metadata"]["name"]: each for each in of_kind(objects, kind)}[exactly]


def files(objects: list[Object], pod: Workload, container: Mapping[str, Any]) -> dict[str, str]:
    """The files that ConfigMaps, Secrets and the vault put into the container: path to what they hold.

    What lies in the vault nobody knows here: it is "vault:" and the secret's name. Raises KeyError for an object that
    is not there.
    """
    found: dict[str, str] = {}
    for mount in container.get("volumeMounts", []):
        for key, value in _keys(objects, pod.volume(mount["name"])):
            if "subPath" not in mount:
                found[f"{mount['mountPath']}/{key}"] = value
            elif mount["subPath"] == key:
                found[mount["mountPath"]] = value
    return found


def _keys(objects: list[Object], volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield from named(objects, "ConfigMap", volume["configMap"]["name"])["data"].items()
    if "secret" in volume:
        secret = named(objects, "Secret", volume["secret"]["secretName"])
        for key, value in secret["data"].items():
            yield key, base64.b64decode(value).decode()
    if "csi" in volume:
        provider = named(objects, "SecretProviderClass", volume["csi"]["volumeAttributes"]["secretProviderClass"])
        for each in yaml.safe_load(provider["spec"]["parameters"]["objects"])["array"]:
            one = yaml.safe_load(each)
            yield one.get("objectAlias", one["objectName"]), f"vault:{one['objectName']}"

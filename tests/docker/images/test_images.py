"""What is in the images, and how they run: as Kubernetes and compose.yaml run them, with as few rights."""

import json
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.docker.images.conftest import MODEL
from tests.product import free_ports

pytestmark = pytest.mark.images
IMAGES = ("web", "trainer", "scoring-cpu", "scoring-with-model")
# As the manifests have it; podman's own seccomp profile is in force unless one switches it off.
RESTRICTED = (
    *("--pull=never", "--read-only", "--user", "10001:10001", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "128", "--no-healthcheck"),
)


def probe(engine, image):
    name = f"localhost/scorepod-{image}:dev"
    source = (Path(__file__).parent / "probe.py").read_text()
    return json.loads(
        engine.podman("run", "--rm", "-i", "--network", "none", *RESTRICTED, name, "python3", "-", input=source)
    )


@pytest.fixture(scope="module")
def found(images):
    """What each image shows from within."""
    return {image: probe(images, image) for image in IMAGES}


@pytest.mark.parametrize("image", IMAGES)
def test_it_runs_with_no_rights_at_all(found, image):
    assert found[image]["user"] == [10001, 10001]
    assert found[image]["capabilities"] == ""
    assert found[image]["no_new_privileges"] == "1"
    assert found[image]["seccomp"] == "2"
    assert found[image]["writable"] == []


@pytest.mark.parametrize("image", IMAGES)
def test_it_holds_no_compiler_and_nothing_of_its_building(images, found, image):
    assert found[image]["compilers"] == []
    look = "ls -d /etc/pip.conf /etc/pip.crt /root/.cache/pip /requirements /sbom.py 2>/dev/null; test -d /root"
    name = f"localhost/scorepod-{image}:dev"
    assert (
        images.podman("run", "--rm", "--user", "0:0", "--no-healthcheck", "--pull=never", name, "sh", "-c", look) == ""
    )
    assert not [name for name in found[image]["environment"] if name.startswith(("PIP", "SECRET", "API_KEY"))]


def test_each_image_holds_its_own_libraries_and_program(found):
    modules = {image: set(found[image]["modules"]) for image in IMAGES}
    assert modules["web"] == {"django", "webapp", "scoring_service"}
    assert found["web"]["program"] == ["__init__.py", "contract.py"]
    assert modules["trainer"] == {"django", "webapp", "scoring_service", "sklearn"}
    assert modules["scoring-cpu"] == modules["scoring-with-model"] == {"scoring_service", "sklearn"}


@pytest.mark.parametrize("image", IMAGES)
def test_its_bill_of_materials_names_all_that_is_installed(found, image):
    assert found[image]["installed"] > 10
    assert found[image]["not_billed"] == []


@pytest.mark.parametrize("image", IMAGES)
def test_it_says_what_it_is(images, image):
    config = images.inspect("image", f"localhost/scorepod-{image}:dev")["Config"]
    assert config["User"] == "10001:10001"
    label = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert all(label[name] for name in ("title", "description", "version", "base.name", "base.digest"))
    assert len(label["revision"]) == 40


def test_what_was_told_to_pip_is_in_no_image(images, tmp_path):
    """Neither in a layer nor in the history: it may hold the password of an index."""
    told = (images.folder / "tmp").glob("*/pip.conf")
    assert not list(told), "the build removes it"
    for image in IMAGES:
        history = images.podman("history", "--no-trunc", "--format", "json", f"localhost/scorepod-{image}:dev")
        assert "index-url" not in history
        assert "find-links" not in history


def test_the_site_carries_its_guide_and_its_static_files(images):
    look = "import pathlib as p; print(p.Path('docs/api.md').exists(), *p.Path('static').glob('staticfiles.json'))"
    name = "localhost/scorepod-web:dev"
    assert images.podman("run", "--rm", *RESTRICTED, name, "python3", "-c", look) == "True static/staticfiles.json"


# Running --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pod(images):
    """The address of a pod with the model baked in; its token is "token"."""
    [port] = free_ports(1)
    container = images.podman(
        *("run", "--detach", "--publish", f"127.0.0.1:{port}:8001", *RESTRICTED, "--tmpfs", "/tmp"),
        *(
            "--env",
            "SCORING_TOKEN=token",
            "--env",
            "SCORING_NOT_READY_S=0",
            "localhost/scorepod-scoring-with-model:dev",
        ),
    )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, images.log(container)
        time.sleep(0.1)
    yield url, container
    images.podman("rm", "--force", "--time", "2", container)


def test_a_pod_with_its_model_baked_in_answers_and_its_health_command_agrees(images, pod):
    url, container = pod
    answer = httpx.post(f"{url}/score", json={"input": "copy an object"}, headers={"Authorization": "Bearer token"})
    rows = answer.json()
    assert len(rows) == 112
    assert rows == sorted(rows, key=lambda row: -row[2])
    versions = httpx.get(f"{url}/v2/models/{MODEL}", headers={"Authorization": "Bearer token"}).json()["versions"]
    assert versions == ["1"]
    health = images.inspect("image", "localhost/scorepod-scoring-with-model:dev")["Healthcheck"]["Test"]
    assert health[0] == "CMD"
    images.podman("exec", container, *health[1:])


def test_a_pod_that_is_told_to_stop_stops_by_itself(images, pod):
    _url, container = pod
    images.podman("stop", "--time", "30", container)
    assert images.inspect("container", container)["State"]["ExitCode"] == 0


def test_the_memory_limit_ends_what_passes_it(images):
    command = ("python3", "-c", "b = bytearray(1 << 30)")
    outcome = images.run(
        "podman", "run", "--rm", *RESTRICTED, "localhost/scorepod-scoring-cpu:dev", *command, check=False
    )
    assert outcome.returncode == 137


def test_a_site_without_its_secrets_does_not_start_and_says_what_is_missing(images):
    outcome = images.run("podman", "run", "--rm", *RESTRICTED, "localhost/scorepod-web:dev", check=False)
    assert outcome.returncode != 0
    assert "Set SECRET_KEY or SECRET_KEY_FILE" in outcome.stderr

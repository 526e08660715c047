"""Each variable in a manifest is one that its program reads, and the programs start with what they are given there."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring_service.settings import BadSetting, Settings
from tests.k8s.manifests import OVERLAYS, ROOT, Object, Workload, environment, files, find, render, workload, workloads

SITE = ("webapp/settings.py", "webapp/gunicorn_conf.py")
POD = ("scoring_service/settings.py",)
READERS = {"required", "secret", "choice", "number", "get"}  # and the site's env_…
# What stands for a secret of the vault.
VALUES = {
    "DATABASE_URL": "postgres://scorepod:password@db.example.org/scorepod?sslmode=require",
    "REDIS_URL": "rediss://:password@redis.example.org:10000/0?ssl_cert_reqs=required",
    "EMAIL_URL": "smtp+tls://scorepod:password@mail.example.org:587",
}


def variables(*places: str) -> set[str]:
    """The names that the files ask the environment for; secrets with their form that names a file."""
    found = set()
    for place in places:
        for call in ast.walk(ast.parse((ROOT / place).read_text())):
            if not isinstance(call, ast.Call):
                continue
            reader = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if reader not in READERS and not reader.startswith("env_"):
                continue
            names = {each.value for each in call.args[:2] if isinstance(each, ast.Constant) and each.value}
            found |= {each for each in names if isinstance(each, str) and each.isupper()}
            if reader in {"env_secret", "secret"}:
                found |= {f"{each}_FILE" for each in names if isinstance(each, str) and each.isupper()}
    return found


def of_ours(objects: list[Object]) -> Iterator[tuple[Workload, dict[str, object], tuple[str, ...]]]:
    """Each container that runs a program of ours, with the files that read its environment."""
    for pod in workloads(objects):
        for container in pod.containers:
            image = container["image"]
            if "scorepod-scoring" in image:
                yield pod, container, POD
            elif "scorepod-web" in image or "scorepod-trainer" in image:
                yield pod, container, SITE


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_one_that_the_program_reads(overlay: str) -> None:
    objects = render(f"overlays/{overlay}")
    checked = 0
    for _pod, container, places in of_ours(objects):
        assert set(environment(objects, container)) - variables(*places) == set()
        checked += 1
    assert checked > 10


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("called", ["scoring-cpu", "scoring-gpu"])
def test_pods_start_with_their_settings(overlay: str, called: str, tmp_path: Path) -> None:
    objects = render(f"overlays/{overlay}")
    settings = Settings.from_env(given(objects, workload(objects, called), "scoring", tmp_path))
    assert settings.pool == called.removeprefix("scoring-")
    assert settings.token
    mounts = {each["mountPath"]: each for each in workload(objects, called).container("scoring")["volumeMounts"]}
    assert mounts[str(settings.store)]["readOnly"]
    assert [each["containerPort"] for each in workload(objects, called).container("scoring")["ports"]] == [
        settings.port
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(("called", "container"), [("web", "web"), ("setup", "setup")])
def test_the_site_starts_with_its_settings(overlay: str, called: str, container: str, tmp_path: Path) -> None:
    objects = render(f"overlays/{overlay}")
    pod = workload(objects, called)
    started = start(given(objects, pod, container, tmp_path))
    assert started.returncode == 0, started.stderr
    mounts = [each["mountPath"] for each in pod.container(container)["volumeMounts"]]
    told = dict(line.split("=", 1) for line in started.stdout.splitlines())
    assert told["MODEL_STORE"] in mounts
    assert "postgresql" in told["DATABASE"]
    assert told["REDIS"].startswith("redis")


def test_a_setting_that_is_missing_is_found(tmp_path: Path) -> None:
    objects = render("overlays/local")
    find(objects, "ConfigMap", "scoring-env-cpu")["data"].pop("SCORING_PORT")
    with pytest.raises(BadSetting, match="SCORING_PORT"):
        Settings.from_env(given(objects, workload(objects, "scoring-cpu"), "scoring", tmp_path))
    find(objects, "ConfigMap", "site-env")["data"].pop("SECRET_KEY_FILE")
    started = start(given(objects, workload(objects, "web"), "web", tmp_path))
    assert "Set SECRET_KEY" in started.stderr


def given(objects: list[Object], pod: Workload, container: str, folder: Path) -> dict[str, str]:
    """The container's environment, with the files that it names laid into the folder."""
    env = environment(objects, pod.container(container))
    there = files(objects, pod, pod.container(container))
    for variable, path in env.items():
        if variable.endswith("_FILE"):
            secret = variable.removesuffix("_FILE")
            value = there[path] if not there[path].startswith("vault:") else VALUES.get(secret, "x" * 50)
            (folder / secret).write_text(value)
            env[variable] = str(folder / secret)
    return env


def start(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Loads the site with that environment and nothing else, and lets it tell what it made of it."""
    code = (
        "import django; django.setup(); from django.conf import settings as s; "
        "print(f'MODEL_STORE={s.MODEL_STORE}'); print('DATABASE=' + s.DATABASES['default']['ENGINE']); "
        "print('REDIS=' + s.REDIS_URL)"
    )
    inherited = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    return subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **env}, cwd=ROOT, capture_output=True, text=True, check=False
    )

"""deploy.sh, with a kubectl that writes down what it is told and says what the test wants."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.k8s.manifests import checkout, kubectl

KUBECTL = """#!/bin/sh
echo "$*" >> "{folder}/said"
case "$*" in
  kustomize*) exec {real} "$@" ;;
  *"get job/setup"*) cat "{folder}/state" ;;
  *"get deployments"*) echo deployment.apps/web; echo deployment.apps/worker ;;
  *"logs job/setup"*) echo "no such column" ;;
esac
"""


@pytest.fixture
def deploy(tmp_path: Path):
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(folder=tmp_path, real=kubectl()))
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOOK_EACH_S": "0", "SETUP_WITHIN_S": "1"}

    def run(*arguments: str, state: str = "Complete") -> tuple[subprocess.CompletedProcess[str], list[str]]:
        (tmp_path / "state").write_text(state)
        command = [str(checkout() / "deploy.sh"), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
        said = tmp_path / "said"
        return done, said.read_text().splitlines() if said.exists() else []

    return run


def test_old_jobs_go_before_the_new_ones_come_and_everything_is_waited_for(deploy) -> None:
    done, said = deploy("local")
    assert done.returncode == 0, done.stderr
    kinds = [
        next(word for word in line.split() if word in {"kustomize", "delete", "apply", "get", "rollout"})
        for line in said
    ]
    assert kinds == ["kustomize", "delete", "apply", "get", "get", "rollout", "rollout"]
    assert "delete jobs --selector app.kubernetes.io/part-of=scorepod" in said[1]
    assert "deployment.apps/worker" in said[-1]


@pytest.mark.parametrize("state", ["Failed", ""])
def test_a_setup_that_fails_or_lasts_ends_it_with_its_log(deploy, state: str) -> None:
    done, said = deploy("local", state=state)
    assert done.returncode == 1
    assert "no such column" in done.stderr
    assert not any("rollout" in line for line in said)


def test_an_overlay_that_is_not_there_is_named(deploy) -> None:
    done, said = deploy("nowhere")
    assert (done.returncode, said) == (2, [])
    assert "there is no kustomization.yaml in" in done.stderr

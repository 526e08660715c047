"""provision.sh, with an az that writes down what it is told and says that all is there, or nothing."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.k8s.manifests import checkout

AZ = """#!/bin/sh
echo "$*" >> "{folder}/said"
case "$*" in
  *"account show"*|*"signed-in-user show"*|*identity*show*--query*) echo 00000000-0000-0000-0000-000000000001; exit ;;
  *"public-ip show"*ipAddress*) echo 203.0.113.80; exit ;;
  *"postgres-password --query"*) echo made-up; exit ;;
  *listKeys*) echo key; exit ;;
  *" show "*--query*) echo there; exit ;;
esac
if [ -e "{folder}/empty" ]; then
  case "$*" in *" show "*) echo "ResourceNotFound: it was not found" >&2; exit 3 ;; esac
else
  case "$*" in
    *"network-rule list"*) echo 203.0.113.7 ;;
    *"record-set a list"*) echo 203.0.113.80 ;;
    *"assignment list"*) echo there ;;
  esac
fi
"""
MAKES = re.compile(r" (create|add|add-record|set|import|enable)$")
OPTIONS = ("--host", "scoring.example.org", "--admin-group", "group", "--operator-ip", "203.0.113.7/32")
Made = Callable[..., list[str]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Runs it; returns the commands that make something, up to their first option."""
    k8s, az = tmp_path / "k8s", tmp_path / "az"
    shutil.copytree(checkout(), k8s)
    az.write_text(AZ.format(folder=tmp_path))
    az.chmod(0o755)

    def run(*, empty: bool) -> list[str]:
        (tmp_path / "said").unlink(missing_ok=True)
        (tmp_path / "empty").unlink(missing_ok=True)
        if empty:
            (tmp_path / "empty").touch()
        command = [k8s / "provision.sh", *OPTIONS, "--dns-zone", "example.org", "--ddos"]
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        said = [line.partition(" --")[0] for line in (tmp_path / "said").read_text().splitlines()]
        return [line for line in said if MAKES.search(line)]

    return run


def test_the_first_time_everything_is_made(made):
    commands = made(empty=True)
    for each in (
        *("group create", "network vnet create", "network ddos-protection create", "keyvault create"),
        *("keyvault certificate create", "postgres flexible-server create", "storage share-rm create", "acr create"),
        *("acr network-rule add", "aks create", "aks nodepool add", "aks approuting gateway istio enable"),
        *("identity federated-credential create", "role assignment create", "network dns record-set a add-record"),
    ):
        assert each in commands


def test_what_is_there_is_not_made_again(made):
    """But for what says the same each time: where logs go, the gateway, copies of images, the data's addresses."""
    assert set(made(empty=False)) == {
        "monitor diagnostic-settings create",
        "keyvault secret set",
        "acr import",
        "aks approuting gateway istio enable",
    }

"""What images are made of, as far as the files say it. tests/docker/images builds and runs them."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SITE, POD, GPU = "webapp/requirements.txt", "scoring_service/requirements.txt", "scoring_service/requirements-gpu.txt"


def installed_by(*files):
    """The names of all packages that pip installs for the files: theirs, and those that these need."""
    waiting = [
        Requirement(line)
        for file in files
        for line in (ROOT / file).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    done = set()
    while waiting:
        requirement = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if (name, frozenset(requirement.extras)) in done:
            continue
        done.add((name, frozenset(requirement.extras)))
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {name for name, _ in done}


@pytest.mark.parametrize(
    ("files", "needed", "unwanted"),
    [
        pytest.param([SITE], "django", {"torch", "torchvision", "timm", "scikit-learn", "uvicorn"}, id="site"),
        pytest.param([SITE, POD], "scikit-learn", {"torch", "torchvision", "timm"}, id="trainer"),
        pytest.param([POD], "scikit-learn", {"torch", "torchvision", "timm", "django", "celery"}, id="scoring-cpu"),
        pytest.param([POD, GPU], "torch", {"django", "celery"}, id="scoring-gpu"),
    ],
)
def test_an_image_gets_no_library_of_the_others(files, needed, unwanted):
    installed = installed_by(*files)
    assert needed in installed
    assert installed & unwanted == set()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    outcome = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def let_in(path):
    """Whether .dockerignore lets the path into a build: the last line that matches it or a folder above it says so."""
    answer = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        above = [path, *map(str, Path(path).parents)][:-1]
        patterns = {pattern, pattern.removeprefix("**/")}
        if any(fnmatch(each, one) for each in above for one in patterns):
            answer = line.startswith("!")
    return answer


def copied():
    """Every path that the Dockerfiles copy out of the build's folder."""
    for path in DOCKERFILES:
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE):
            yield from line.split()[:-1]


def test_what_the_dockerfiles_copy_is_there_and_let_in():
    sources = set(copied())
    assert {"docs", "frontend", "webapp"} <= sources
    assert {source for source in sources if not (ROOT / source).exists() or not let_in(source)} == set()
    assert let_in("docs/api.md")
    assert let_in("webapp/faq/sample/README.md")


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python3", "var/secrets.env", "var/compose/secret_key", "tests/conftest.py", ".env"),
        *("docker/compose.yaml", "webapp/__pycache__/settings.cpython-311.pyc", "k8s/base/web.yaml", "bench/batch.py"),
    ],
)
def test_nothing_else_is_let_in(path):
    assert not let_in(path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_stage_begins_with_the_base_that_was_asked_for_or_another_stage(path):
    text = path.read_text()
    assert text.count("ARG PYTHON_IMAGE=python:3.11-slim-bookworm") == 1
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == len(stages)
    assert set(bases) <= {"${PYTHON_IMAGE}", "${POOL}", *stages}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_requirements_come_before_the_source(path):
    """A change of the source then installs nothing anew."""
    for stage in re.split(r"^(?=FROM )", path.read_text(), flags=re.MULTILINE):
        if "pip --python" in stage:
            sources = re.findall(r"^COPY (\S+) ", stage[: stage.index("pip --python")], re.MULTILINE)
            assert [source for source in sources if "requirements" not in source] == []

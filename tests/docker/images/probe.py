"""Runs in a container, and prints as JSON what it finds there. Needs nothing but Python."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

MODULES = ("torch", "django", "sklearn", "webapp", "scoring_service")
COMPILERS = ("cc", "gcc", "g++", "clang", "ld", "as", "make")


def writable(folder: str) -> bool:
    try:
        (Path(folder) / "probe").write_text("")
    except OSError:
        return False
    return True


def purl(package: importlib.metadata.Distribution) -> str:
    name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
    return f"pkg:pypi/{name}@{package.version}"


status = dict(re.findall(r"^(\w+):\t(.*)$", Path("/proc/self/status").read_text(), re.MULTILINE))
bill = json.loads(Path("/app/sbom.cdx.json").read_text())
installed = {purl(package) for package in importlib.metadata.distributions() if "/opt/venv" in sys.prefix}
sys.path.insert(0, "/app")
json.dump(
    {
        "user": [os.getuid(), os.getgid()],
        "capabilities": status["CapEff"].strip("0"),
        "no_new_privileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "writable": [folder for folder in ("/", "/app", "/opt/venv", "/etc", "/usr/bin") if writable(folder)],
        "modules": [name for name in MODULES if importlib.util.find_spec(name)],
        "program": sorted(path.name for path in Path("/app/scoring_service").glob("*.py")),
        "compilers": [name for name in COMPILERS if shutil.which(name)],
        "installed": len(installed),
        "not_billed": sorted(installed - {component["purl"] for component in bill["components"]}),
        "environment": sorted(os.environ),
    },
    sys.stdout,
)

"""Prints the bill of materials of an image as CycloneDX JSON: what pip and Debian's packages have put into it.

    python3 sbom.py NAME VIRTUAL_ENVIRONMENT

Says nothing of the time and has no number of its own, so that the same packages give the same bytes.
"""

import json
import platform
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG_STATUS = Path("/var/lib/dpkg/status")
OS_RELEASE = Path("/etc/os-release")


def bill_of_materials(name: str, environment: Path) -> dict[str, Any]:
    """The document. environment: a virtual environment's folder."""
    components = [interpreter(), *python_packages(environment), *debian_packages()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "bom-ref": name}},
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def interpreter() -> dict[str, Any]:
    """Python itself, which the official image compiles and no package brings."""
    return component("Python", platform.python_version(), f"pkg:generic/python@{platform.python_version()}")


def python_packages(environment: Path) -> list[dict[str, Any]]:
    """Those of the environment, and the ones that came with the interpreter, such as pip."""
    found = {}
    for folder in (sysconfig.get_path("purelib"), *environment.glob("lib/python*/site-packages")):
        for package in metadata.distributions(path=[str(folder)]):
            name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
            licence = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
            found[name] = component(name, package.version, f"pkg:pypi/{name}@{package.version}", licence)
    return [found[name] for name in sorted(found)]


def debian_packages() -> list[dict[str, Any]]:
    """Empty where the image is not made of Debian's packages."""
    if not DPKG_STATUS.exists():
        return []
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', OS_RELEASE.read_text(encoding="utf-8"), re.MULTILINE))
    found = []
    for paragraph in DPKG_STATUS.read_text(encoding="utf-8").split("\n\n"):
        field = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE))
        if field.get("Status") == "install ok installed":
            distribution = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}"
            about = f"arch={field['Architecture']}&distro={distribution}"
            purl = f"pkg:deb/debian/{quote(field['Package'])}@{quote(field['Version'], safe='')}?{about}"
            found.append(component(field["Package"], field["Version"], purl))
    return sorted(found, key=lambda each: str(each["bom-ref"]))


def component(name: str, version: str, purl: str, licence: str = "") -> dict[str, Any]:
    described = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    line = licence.strip()
    if line and "\n" not in line and len(line) <= 100:  # some put the whole text there
        return {**described, "licenses": [{"license": {"name": line}}]}
    return described


if __name__ == "__main__":
    json.dump(bill_of_materials(sys.argv[1], Path(sys.argv[2])), sys.stdout, indent=1)

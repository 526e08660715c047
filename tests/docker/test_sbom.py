"""docker/sbom.py: the bill of materials that every image carries."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bill(environment):
    command = [sys.executable, ROOT / "docker" / "sbom.py", "image", environment]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_it_names_the_interpreter_and_what_pip_has_installed(tmp_path):
    folder = tmp_path / "lib" / "python3.11" / "site-packages" / "Some_Thing-1.2.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: Some_Thing\nVersion: 1.2\nLicense-Expression: MIT\n")
    document = json.loads(bill(tmp_path))
    found = {component["purl"]: component for component in document["components"]}
    assert found["pkg:pypi/some-thing@1.2"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert f"pkg:generic/python@{'.'.join(map(str, sys.version_info[:3]))}" in found
    assert len(found) == len(document["components"])


def test_the_same_packages_give_the_same_bytes():
    environment = Path(sys.prefix)
    assert bill(environment) == bill(environment)

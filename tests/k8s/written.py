"""`python -m tests.k8s.written FOLDER`: writes each overlay, rendered, into a file of the folder."""

import shutil
import sys
from pathlib import Path

import yaml

from tests.environment import SCRATCH
from tests.k8s.manifests import OVERLAYS, render

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for overlay in OVERLAYS:
        (folder / f"{overlay}.yaml").write_text(yaml.safe_dump_all(render(f"overlays/{overlay}")))
    shutil.rmtree(SCRATCH)

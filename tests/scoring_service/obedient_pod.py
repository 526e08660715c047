"""`python -m tests.scoring_service.obedient_pod`: a pod like any other that also has the tests' own runtime."""

import os
import sys

from scoring_service.commands.serve import run_pod
from scoring_service.loading import RUNTIMES
from scoring_service.settings import Settings

if __name__ == "__main__":
    runtimes = {**RUNTIMES, "obedient": "tests.scoring_service.obedient"}
    sys.exit(run_pod(Settings.from_env(os.environ), runtimes))

"""`python -m tests.scoring_service.obedient_pod`: a pod like any other that also has the tests' own runtime."""

import os
import sys

from scoring_service import logging, serving
from scoring_service.app import create_app
from scoring_service.loading import RUNTIMES
from scoring_service.settings import Settings

if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    logging.configure(settings.log_format)
    app = create_app(settings, {**RUNTIMES, "obedient": "tests.scoring_service.obedient"})
    sys.exit(serving.serve(app, settings))

"""Run a pod. Everything it needs to know is in the environment: docs/operations.md lists the variables."""

import argparse
import os

from scoring_service import logging, serving
from scoring_service.app import create_app
from scoring_service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Needs MODEL_STORE, SCORING_POOL (cpu or gpu) and SCORING_PORT in the environment."


def run(options: argparse.Namespace) -> int:
    settings = Settings.from_env(os.environ)
    logging.configure(settings.log_format)
    return serving.serve(create_app(settings), settings)

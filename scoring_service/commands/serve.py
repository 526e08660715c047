"""Run a pod. Everything it needs to know is in the environment: docs/operations.md lists the variables."""

import argparse
import os
from collections.abc import Mapping
from importlib import import_module

from scoring_service import logging, serving
from scoring_service.app import create_app
from scoring_service.cpus import share_among
from scoring_service.loading import RUNTIMES
from scoring_service.processes import Door, Room
from scoring_service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Needs MODEL_STORE, SCORING_POOL (cpu or gpu) and SCORING_PORT in the environment."


def run(options: argparse.Namespace) -> int:
    return run_pod(Settings.from_env(os.environ))


def run_pod(settings: Settings, runtimes: Mapping[str, str] = RUNTIMES) -> int:
    """Serves until told to stop; returns the exit status. runtimes: as `create_app` takes them."""
    logging.configure(settings.log_format)
    if settings.processes == 1:
        return serving.serve(create_app(settings, runtimes), settings)

    def serve_inside(room: Room) -> int:
        share_among(settings.processes)
        return serving.serve(create_app(settings, runtimes, room), settings, room)

    if settings.pool == "cpu":
        import_module(RUNTIMES["faq"])  # what all will need anyway; forked, they share it
    return Door(settings, serve_inside).run()

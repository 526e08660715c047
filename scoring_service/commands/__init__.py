"""One module per command: `add_arguments(parser)` and `run(options) -> exit status`."""

import argparse
import os
from pathlib import Path


def add_store_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=Path(os.environ.get("MODEL_STORE", "var/models")),
        help="the model store (default: MODEL_STORE, else var/models)",
    )

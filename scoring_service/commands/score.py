"""Score one question or picture with a stored model, without a server."""

import argparse
from pathlib import Path

from scoring_service import logging, store
from scoring_service.commands import add_store_argument
from scoring_service.errors import BadRow
from scoring_service.loading import load_version
from scoring_service.runtimes.base import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="a question, or the path of a picture for an image model")
    parser.add_argument("--model", required=True, help="name of the model in the store")
    parser.add_argument("--version", help="default: the version that serves")
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="how many answers, 0 for all (default 5)")
    add_store_argument(parser)


def run(options: argparse.Namespace) -> int:
    logging.configure("console")  # what the runtime logs goes to standard error
    version = options.version or store.champion_of(options.store, options.model)
    directory = options.store / options.model / version
    is_faq = store.read_manifest(directory).kind == "faq"
    value = options.input if is_faq else Path(options.input).read_bytes()
    _, runtime = load_version(directory)
    [result] = runtime.score([Row((value,), {"top_k": options.top_k})])
    if isinstance(result, BadRow):
        raise result
    names = result["faq_id" if is_faq else "label"]
    for probability, name in zip(result["probability"], names, strict=True):
        print(f"{probability:7.1%}  {name}")
    return 0

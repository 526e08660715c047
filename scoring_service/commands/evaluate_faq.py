"""`evaluate-faq`: measures a stored matcher on questions with known answers."""

import argparse
import sys
from pathlib import Path

import msgspec

from scoring_service import store
from scoring_service.commands import add_store_argument
from scoring_service.commands.train_faq import summary
from scoring_service.faq.entries import read_collection
from scoring_service.faq.evaluation import metrics_of
from scoring_service.faq.matcher import Matcher
from scoring_service.faq.registration import BATCH, milliseconds, outcome_of, test_questions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--entries", type=Path, nargs="+", required=True, help="JSON lines as for train-faq; test_phrasings are asked"
    )
    add_store_argument(parser)
    parser.add_argument("--model", default="faq", help="name of the model (default: %(default)s)")
    parser.add_argument("--version", help="default: the one that serves")


def run(args: argparse.Namespace) -> int:
    """Prints the measures as JSON, and a summary on stderr."""
    version = args.version or store.champion_of(args.store, args.model)
    directory = args.store / args.model / version
    manifest = store.read_manifest(directory)
    if manifest.runtime != "faq":
        raise ValueError(f"{args.model} version {version} is no FAQ matcher, its runtime is {manifest.runtime}")
    store.verify(directory, manifest)
    matcher = Matcher.load(directory)
    questions = test_questions(read_collection(args.entries))
    known = {entry.id for entry in matcher.entries}
    strangers = {identity for _, identity in questions if identity is not None} - known
    if strangers:
        raise ValueError(f"{args.model} version {version} has no entry {min(strangers)!r}")
    if not questions:
        raise ValueError("there are neither test_phrasings nor unanswerable questions to ask")
    asked = [question for question, _ in questions]
    metrics = {
        "model": args.model,
        "version": version,
        **metrics_of(outcome_of(matcher, questions)),
        "ms_per_question": milliseconds(matcher, asked, 1),
        "ms_per_question_in_batches_of_32": milliseconds(matcher, asked, BATCH),
    }
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(metrics), indent=1).decode() + "\n")
    sys.stderr.write(f"{summary(metrics)}\n")
    return 0

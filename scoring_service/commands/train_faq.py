"""`train-faq`: a FAQ matcher from JSON lines, written into the store as a new version."""

import argparse
import sys
import time
from pathlib import Path

from scoring_service import store
from scoring_service.commands import add_store_argument
from scoring_service.faq.entries import read_collection
from scoring_service.faq.registration import EVALUATION, evaluation_set, register
from scoring_service.faq.training import PRUNED_FROM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=Path, nargs="+", required=True, help="JSON lines: entries, known duplicates")
    add_store_argument(parser)
    parser.add_argument("--model", default="faq", help="name of the model (default: %(default)s)")
    parser.add_argument("--title", help="name for people (default: the model's name)")
    parser.add_argument("--description", default="", help="one or two sentences for people")
    parser.add_argument("--sample", action="store_true", help="it only demonstrates; other models are offered first")
    parser.add_argument(
        "--champion",
        action="store_true",
        help="let it serve, where pods run without the site; the first version does in any case",
    )
    parser.add_argument(
        "--pruned-from",
        type=int,
        default=PRUNED_FROM,
        metavar="ENTRIES",
        help="from how many entries on a question is compared with some of them only (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed and entries give the same matcher")


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()

    def report(step: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {step}\n")

    collection = read_collection(args.entries)
    manifest = register(
        collection,
        args.store,
        args.model,
        title=args.title or args.model,
        description=args.description,
        sample=args.sample,
        seed=args.seed,
        source=", ".join(path.name for path in args.entries),
        progress=report,
        pruned_from=args.pruned_from,
    )
    questions = evaluation_set(collection)
    if questions and store.keep_evaluation_set(args.store, args.model, EVALUATION, questions):
        report(f"its test phrasings are what versions of {args.model} are measured on from now on")
    if args.champion:
        store.set_champion(args.store, args.model, manifest.version)
    else:
        store.set_first_champion(args.store, args.model, manifest.version)
    report(f"{manifest.model} version {manifest.version} is in the store")
    report(summary(manifest.metrics))
    return 0


def summary(metrics: dict[str, object]) -> str:
    """The measures in one line, for people."""
    shown = {
        "accuracy_at_1": "accuracy@1",
        "accuracy_at_3": "@3",
        "mrr": "MRR",
        "ece": "calibration error",
        "no_answer_auroc": "no-answer AUROC",
        "ms_per_question": "ms a question",
    }
    parts = []
    for key, name in shown.items():
        value = metrics.get(key)
        parts.append(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} not measured")
    return ", ".join(parts)

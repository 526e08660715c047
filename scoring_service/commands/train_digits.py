"""`train-digits`: the sample image model, and the sample pictures on the pages."""

import argparse
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import torch

from scoring_service.contract import TrainingData
from scoring_service.cpus import cpu_limit
from scoring_service.images import digits
from scoring_service.images.labels import Label
from scoring_service.images.progress import Bar
from scoring_service.images.registration import register
from scoring_service.store import keep_evaluation_set

_LEAST_ACCURACY = 0.97
_SAMPLE_SIDE = 160  # pixels
_EVALUATION_SIDE = 64
# Digit to which of its held-out examples is shown: clearly written ones. A page takes eight pictures at once.
_SAMPLES = {0: 1, 2: 3, 3: 5, 4: 2, 5: 2, 6: 1, 7: 3, 9: 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    store = os.environ.get("MODEL_STORE")
    parser.add_argument("--store", type=Path, default=store, help="the model store (default: MODEL_STORE)")
    parser.add_argument("--model", default="digits", help="name of the model (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same network")
    parser.add_argument(
        "--samples", type=Path, metavar="DIR", help="only write sample pictures of held-out digits into DIR"
    )


def run(args: argparse.Namespace) -> int:
    training, held_out = digits.load(args.seed)
    if args.samples is not None:
        return _write_samples(held_out, args.samples)
    if args.store is None:
        raise ValueError("name the model store with --store or MODEL_STORE")
    torch.set_num_threads(cpu_limit())
    network = digits.train(training, progress=Bar("Learning digits", unit="steps"), seed=args.seed)
    dark_on_light = digits.accuracy(network, held_out, light_on_dark=False)
    light_on_dark = digits.accuracy(network, held_out, light_on_dark=True)
    if min(dark_on_light, light_on_dark) < _LEAST_ACCURACY:
        raise ValueError(f"it reads only {min(dark_on_light, light_on_dark):.1%} of held-out digits: not registered")
    manifest = register(
        args.store,
        args.model,
        library="torchvision",
        architecture=digits.ARCHITECTURE,
        weights=network.state_dict(),
        labels=[Label(label_id=_label_id(digit), label=label) for digit, label in enumerate(digits.LABELS)],
        preprocessing=digits.PREPROCESSING,
        smoke=[
            (f"{number}.png", _png(held_out.ink[number], digits.SIDE, light_on_dark=number % 2 == 1))
            for number in range(8)
        ],
        title="Handwritten digits (sample)",
        description=(
            "Reads one handwritten digit, dark on light or light on dark. A small network trained on this machine, "
            "so that there is something to try before real weights are here."
        ),
        sample=True,
        metrics={
            "accuracy@1": round(dark_on_light, 4),
            "accuracy@1_light_on_dark": round(light_on_dark, 4),
            "held_out": len(held_out.shown),
            "trained_on": len(training.shown),
        },
        data=TrainingData(
            f"scikit-learn's handwritten digits without {len(held_out.shown)} that were held out",
            hashlib.sha256(training.ink.numpy().tobytes() + training.shown.numpy().tobytes()).hexdigest(),
            rows=len(training.shown),
        ),
    )
    if keep_evaluation_set(args.store, args.model, "evaluation.zip", _evaluation_set(held_out)):
        sys.stderr.write(f"The held-out digits are what versions of {args.model} are measured on from now on.\n")
    sys.stderr.write(
        f"{manifest.model} version {manifest.version} reads {dark_on_light:.1%} of {len(held_out.shown)} held-out "
        f"digits dark on light, {light_on_dark:.1%} light on dark.\n"
    )
    return 0


def _write_samples(held_out: digits.Digits, directory: Path) -> int:
    """The held-out digits of _SAMPLES, as DIGIT.png."""
    directory.mkdir(parents=True, exist_ok=True)
    for digit, which in _SAMPLES.items():
        row = int((held_out.shown == digit).nonzero()[which])
        (directory / f"{digit}.png").write_bytes(_png(held_out.ink[row], _SAMPLE_SIDE))
    return 0


def _evaluation_set(held_out: digits.Digits) -> bytes:
    """The held-out digits as pictures with their labels, half of them light on dark. Same digits, same bytes."""
    rows = [f"{number:03}.png,{_label_id(int(shown))}" for number, shown in enumerate(held_out.shown)]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("labels.csv"), "\n".join(["file,label_id", *rows, ""]))
        for number, ink in enumerate(held_out.ink):
            picture = _png(ink, _EVALUATION_SIDE, light_on_dark=number % 2 == 1)
            archive.writestr(zipfile.ZipInfo(f"{number:03}.png"), picture)  # without the time of day
    return file.getvalue()


def _label_id(digit: int) -> str:
    return f"digit-{digit}"


def _png(ink: torch.Tensor, side: int, *, light_on_dark: bool = False) -> bytes:
    file = io.BytesIO()
    digits.picture(ink, side, light_on_dark=light_on_dark).save(file, "PNG", optimize=True)
    return file.getvalue()

"""What decoding costs, whether reduced decoding changes answers, and whether decoding hides behind the model.

    python -m bench.image_decoding [--store STORE --model MODEL] [--pictures 1000] [--files DIR] [--seconds 5] [--out …]

Large JPEGs are decoded at a half, a quarter or an eighth of their size where a model needs no more (Pillow's `draft`).
The pictures are made: handwritten digits on paper with grain and shadow, from 640×480 to 12 megapixels, for the sample
model, which is trained first (a minute or two). --store names another store and --model a version of torchvision's or
timm's in it; --files a folder of JPEGs to compare on. Nothing else should want the CPUs meanwhile.
"""

import argparse
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image

from bench import random_resnet152
from bench.image_model import rate
from bench.workloads import pictures
from scoring_service import store
from scoring_service.commands import train_digits
from scoring_service.cpus import cpu_limit
from scoring_service.images import digits
from scoring_service.images.architectures import build, fit, fold_batch_norms, read_weights
from scoring_service.images.decoding import decode
from scoring_service.images.imagenet import torchvision_source
from scoring_service.images.labels import read_labels
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.loading import load_version
from scoring_service.runtimes.base import Row
from scoring_service.runtimes.torchvision import ImageClassifier, Parameters

SIZES = ((640, 480), (1600, 1200), (2592, 1944), (4000, 3000))
TWELVE_MEGAPIXELS = SIZES[-1]
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a model store; by default one with the sample model is made")
    parser.add_argument("--model", default="digits", help="the model that names the pictures (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=1000, help="how many are made (default: %(default)s)")
    parser.add_argument("--files", type=Path, help="a folder of JPEGs to compare on instead")
    parser.add_argument("--seconds", type=float, default=5, help="for each measurement")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(cpu_limit())
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder:
        figures = {
            "cost": costs(options.seconds),
            "agreement": compared(options, Path(folder)),
            "overlap": overlap(Path(folder) / "random", options.seconds),
        }
    report(figures)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


# What it costs --------------------------------------------------------------------------------------------------------


def costs(seconds: float) -> list[dict[str, object]]:
    """Milliseconds a picture on one thread, from the file to 224 × 224 pixels, decoded in full and reduced."""
    preprocessing = torchvision_source("resnet152").preprocessing
    rows: list[dict[str, object]] = []
    for what, file in (("640×480", pictures(1)[0]), ("12 megapixels", photo(TWELVE_MEGAPIXELS))):
        figures = {
            how: 1000 / rate(partial(pixels, file, preprocessing, enough), 1, seconds)
            for how, enough in (("full", None), ("reduced", preprocessing.enough))
        }
        rows.append({"picture": what, "kB": round(len(file) / 1000), **figures})
    return rows


def pixels(file: bytes, preprocessing: Preprocessing, enough: int | None) -> torch.Tensor:
    """What a network is given of the file; enough: as `decode` has it."""
    return preprocessing.pixels(decode(file, enough=enough))


def photo(size: tuple[int, int]) -> bytes:
    """A JPEG of that size: one of the small ones enlarged, with grain."""
    return jpeg(grainy(Image.open(io.BytesIO(pictures(1)[0])).resize(size, Image.Resampling.BICUBIC), seed=0), 88)


# Whether answers change -----------------------------------------------------------------------------------------------


def compared(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """How many pictures get the same best label in full and reduced, from a version as it was trained, in float32."""
    models = options.store or made_store(folder)
    version = json.loads((models / options.model / "routing.json").read_text())["champion"]
    files: Iterator[bytes]
    if options.files:
        paths = sorted(path for path in options.files.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
        files = (path.read_bytes() for path in paths)
    else:
        files = made(options.pictures)
    agreeing, count = agreement(models / options.model / version, files)
    return {"model": options.model, "pictures": count, "agreeing": agreeing}


def made_store(folder: Path) -> Path:
    arguments = argparse.Namespace(store=folder / "models", model="digits", seed=0, samples=None)
    train_digits.run(arguments)
    return folder / "models"


def agreement(directory: Path, files: Iterator[bytes]) -> tuple[int, int]:
    """How many of the files get the same best label either way from the folder's version, and how many there are."""
    parameters = msgspec.convert(store.read_manifest(directory).parameters, Parameters)
    plain = build(parameters.library, parameters.architecture, classes=len(read_labels(directory)))
    network = fold_batch_norms(fit(plain, read_weights(directory / parameters.weights)))
    preprocessing = parameters.preprocessing
    agreeing = count = 0
    with torch.inference_mode():
        for file in files:
            both = [pixels(file, preprocessing, enough) for enough in (None, preprocessing.enough)]
            full, reduced = network(preprocessing.normalised(torch.stack(both))).argmax(1).tolist()
            agreeing += full == reduced
            count += 1
    return agreeing, count


def made(count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[bytes]:
    """JPEGs of handwritten digits on paper, in those sizes, as somebody might take them with a phone."""
    held_out = digits.load()[1]
    for number in range(count):
        dice = random.Random(number)
        width, height = size = dice.choice(sizes)
        ink = digits.picture(held_out.ink[number % len(held_out.ink)], 400)
        side = round(min(size) * dice.uniform(0.75, 0.98))
        ink = ink.resize((side, side), Image.Resampling.BICUBIC).rotate(dice.uniform(-8, 8), fillcolor=255)
        paper = Image.new("L", size, 255)
        paper.paste(ink, ((width - side) // 2, (height - side) // 2))
        drawn = paper.point(levels(dice)).convert("RGB")
        yield jpeg(grainy(drawn, seed=number), dice.randint(60, 95))


def levels(dice: random.Random) -> list[int]:
    """What becomes of each grey, 0 for ink to 255 for paper: somewhere between a pencil on grey and ink on white."""
    dark, light = dice.uniform(0, 90), dice.uniform(160, 255)
    return [round(dark + (light - dark) * grey / 255) for grey in range(256)]


def grainy(picture: Image.Image, seed: int) -> Image.Image:
    """The picture with a camera's grain and a shadow from one side."""
    width, height = picture.size
    tile = np.random.default_rng(seed).normal(0, 8, (512, 512, 1)).astype(np.float32)
    grain = np.tile(tile, (height // 512 + 1, width // 512 + 1, 1))[:height, :width]
    shadow = np.linspace(0.8, 1, width, dtype=np.float32)[None, :, None]
    return Image.fromarray((np.asarray(picture, dtype=np.float32) * shadow + grain).clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


# Whether it hides -----------------------------------------------------------------------------------------------------


def overlap(folder: Path, seconds: float) -> list[dict[str, object]]:
    """Images a second of ResNet-152 in batches of 8: decoded when their turn comes, and while the one before runs."""
    random_resnet152.main(folder)
    _, runtime = load_version(folder / "resnet152" / "1")
    assert isinstance(runtime, ImageClassifier)
    rows: list[dict[str, object]] = []
    for what, files in (("640×480", pictures(BATCH)), ("12 megapixels", [photo(TWELVE_MEGAPIXELS)] * BATCH)):
        first = [Row((file,)) for file in files]
        figures = {
            "in turn": rate(partial(runtime.score, first), BATCH, seconds),
            "ahead": rate(ahead(runtime, files), BATCH, seconds),
        }
        rows.append({"picture": what, **figures, **runtime.parameters})
    runtime.close()
    return rows


def ahead(runtime: ImageClassifier, files: Sequence[bytes]) -> Callable[[], None]:
    """Each call scores a batch, while the next one is in the queue already."""
    batches = [[Row((file,)) for file in files] for _ in range(2)]
    turn = 0

    def call() -> None:
        nonlocal turn
        batches[1 - turn] = [Row((file,)) for file in files]
        runtime.expect(batches[1 - turn])
        runtime.score(batches[turn])
        turn = 1 - turn

    return call


def report(figures: dict[str, Any]) -> None:
    print(f"{'decoding, ms on 1 thread':28}{'kB':>8}{'full':>10}{'reduced':>10}")
    for row in figures["cost"]:
        print(f"{row['picture']:28}{row['kB']:8}{row['full']:10.1f}{row['reduced']:10.1f}")
    same = figures["agreement"]
    share = same["agreeing"] / max(same["pictures"], 1)
    print(f"same best label: {same['agreeing']} of {same['pictures']} pictures ({share:.2%}), {same['model']}")
    print(f"{'ResNet-152, images/s':28}{'in turn':>8}{'ahead':>10}")
    for row in figures["overlap"]:
        print(f"{row['picture']:28}{row['in turn']:8}{row['ahead']:10}  {row['precision']} on {row['device']}")


if __name__ == "__main__":
    main()

"""`fetch-weights`: published ImageNet weights, checked, converted and registered. `make weights` runs it."""

import argparse
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import torch

from scoring_service.contract import Manifest, TrainingData
from scoring_service.errors import VersionUnusable
from scoring_service.images import photos
from scoring_service.images.architectures import build, fit, read_weights
from scoring_service.images.decoding import decode
from scoring_service.images.download import DownloadFailed, check_hash, download
from scoring_service.images.imagenet import Source, timm_source, torchvision_source
from scoring_service.images.progress import Bar
from scoring_service.images.registration import register
from scoring_service.store import read_manifest, read_routing

_PHOTO_SIDE = 512  # pixels
_SMOKE_SIDE = 320


def add_arguments(parser: argparse.ArgumentParser) -> None:
    store = os.environ.get("MODEL_STORE")
    parser.add_argument("--store", type=Path, default=store, help="the model store (default: MODEL_STORE)")
    parser.add_argument("--model", help="name of the model (default: the architecture)")
    parser.add_argument("--library", choices=("torchvision", "timm"), default="torchvision")
    parser.add_argument("--architecture", default="resnet152", help="as the library calls it (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="weights that are here already: nothing is downloaded")
    parser.add_argument("--url", help="another address of the same file, such as a mirror")
    parser.add_argument("--sha256", type=_sha256, help="SHA-256 to expect instead of the published one, 64 hex digits")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="only write the sample photos into DIR")


def run(args: argparse.Namespace) -> int:
    if args.samples is not None:
        return _write_samples(args.samples)
    if args.store is None:
        raise ValueError("name the model store with --store or MODEL_STORE")
    source = (timm_source if args.library == "timm" else torchvision_source)(args.architecture)
    expected = args.sha256 or source.sha256
    if expected is None:
        raise ValueError(f"no hash is published for {args.architecture}: say with --sha256 which file is the right one")
    model = args.model or args.architecture
    there = _registered(args.store, model, expected)
    if there is not None:
        sys.stderr.write(f"{model} version {there.version} has these weights already; nothing to do.\n")
        return 0
    if args.file is not None:
        digest = check_hash(args.file, expected)
        manifest = _register(args.store, model, source, args.file, {"file": args.file.name, "sha256": digest})
    else:
        url = args.url or source.url
        if url is None:
            raise ValueError(f"{args.library} publishes no single file for {args.architecture}: give it with --file")
        file = args.store / ".downloads" / Path(urlsplit(url).path).name
        digest = _download(url, file, expected)
        manifest = _register(args.store, model, source, file, {"url": url, "sha256": digest})
        file.unlink()
    champion = read_routing(args.store, model).champion
    serves = "serves" if champion == manifest.version else f"can be promoted; version {champion or 'none'} serves"
    sys.stderr.write(f"{model} version {manifest.version} is in the store and {serves}: {manifest.title}.\n")
    return 0


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("64 hex digits are wanted")
    return text.lower()


def _registered(store: Path, model: str, sha256: str) -> Manifest | None:
    """A version of `model` that was made from a file with this hash, if there is one."""
    for path in sorted((store / model).glob("[!.]*/manifest.json")):
        with suppress(VersionUnusable):  # what cannot be read is not what is looked for
            manifest = read_manifest(path.parent)
            if manifest.parameters.get("origin", {}).get("sha256", "").startswith(sha256):
                return manifest
    return None


def _download(url: str, to: Path, expected: str) -> str:
    try:
        return download(url, to, expected=expected, progress=Bar("Downloading", unit="MB", scale=1e6))
    except DownloadFailed as error:
        raise DownloadFailed(
            f"{error}. Run it again to go on, or get the file on another machine and name it: --file PATH "
            "(make weights FILE=PATH)"
        ) from error


def _register(store: Path, model: str, source: Source, file: Path, origin: dict[str, str]) -> Manifest:
    """Converts the file to safetensors and registers it, once the network gives usable numbers with it."""
    weights = read_weights(file)
    network = fit(build(source.library, source.architecture, classes=len(source.labels), drawn=False), weights)
    smoke = _smoke_pictures()
    with torch.inference_mode():
        for name, picture in smoke:
            pixels = source.preprocessing.pixels(decode(picture)).unsqueeze(0)
            if not network(source.preprocessing.normalised(pixels)).isfinite().all():
                raise ValueError(f"{file.name} gives no usable numbers for {name}: NaN or infinity")
    return register(
        store,
        model,
        library=source.library,
        architecture=source.architecture,
        weights=weights,
        labels=source.labels,
        preprocessing=source.preprocessing,
        smoke=smoke,
        title=source.title,
        description=f"Names what is in a picture: {len(source.labels):,} categories of ImageNet.",
        sample=False,
        metrics=source.metrics,
        origin=origin,
        data=TrainingData(f"{len(source.labels):,} categories of ImageNet; {source.library} published the weights"),
    )


def _smoke_pictures() -> list[tuple[str, bytes]]:
    """Each photo whole, and the middle third of it."""
    pictures = []
    for name in photos.NAMES:
        whole = photos.photo(name, longest=2 * _SMOKE_SIDE)
        width, height = whole.size
        middle = whole.crop((width // 3, height // 3, 2 * width // 3, 2 * height // 3))
        whole.thumbnail((_SMOKE_SIDE, _SMOKE_SIDE))
        pictures += [(f"{name}.jpg", photos.jpeg(whole)), (f"{name}-middle.jpg", photos.jpeg(middle))]
    return pictures


def _write_samples(directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    for name in photos.NAMES:
        (directory / f"{name}.jpg").write_bytes(photos.jpeg(photos.photo(name, longest=_PHOTO_SIDE)))
    return 0

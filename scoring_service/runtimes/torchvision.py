"""Image classifiers: any architecture of torchvision or timm, with its weights and labels, on a GPU or the CPU."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
import torch
from msgspec import Struct
from torch import nn

from scoring_service.contract import Manifest, studied
from scoring_service.cpus import cpu_limit
from scoring_service.errors import BadRow, OutOfDeviceMemory, VersionUnusable
from scoring_service.images.ahead import Ahead
from scoring_service.images.architectures import Library, UnusableWeights, build, fit, fold_batch_norms, read_weights
from scoring_service.images.decoding import decode
from scoring_service.images.device import Choice, NoUsableNumbers, best_device, choose_precision, device_errors
from scoring_service.images.explaining import Explainer, explainer_of, overlay
from scoring_service.images.fusing import fuse
from scoring_service.images.labels import Label, read_labels
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec
from scoring_service.store import within

DEFAULT_TOP_K = 5
AHEAD = 64  # pictures ready before it is their turn, 150 kB each of a network for 224 pixels

INPUTS = (TensorSpec("image", "BYTES", (-1,), encoding="base64"),)
OUTPUTS = (
    TensorSpec("label", "BYTES", (-1, -1)),
    TensorSpec("label_id", "BYTES", (-1, -1)),
    TensorSpec("probability", "FP32", (-1, -1)),
)
HEATMAP = TensorSpec("heatmap", "BYTES", (-1,), encoding="base64", optional=True)

log = structlog.get_logger()


@studied
class Parameters(Struct, frozen=True, kw_only=True):
    """What a manifest's `parameters` hold for this runtime.

    weights: the file in the version's folder, safetensors or a state dict (.pth).
    """

    library: Library
    architecture: str
    preprocessing: Preprocessing
    weights: str = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row's picture, ready for the network.

    pixels: uint8 (3, height, width). labels: how many are wanted. size: width and height of the picture as decoded.
    explain: whether a heatmap is wanted.
    """

    pixels: torch.Tensor
    labels: int
    size: tuple[int, int]
    explain: bool


class ImageClassifier:
    """A network, where it runs and what its outputs are called."""

    def __init__(
        self,
        network: nn.Module,
        *,
        labels: list[Label],
        preprocessing: Preprocessing,
        device: torch.device,
        choice: Choice,
        decoding_threads: int,
        explainer: Explainer | None,
    ) -> None:
        """network: on `device`, in the chosen precision, evaluation mode, with one output for each of `labels`.

        explainer: of the same network; without one there is no output `heatmap`.
        """
        self._network = network
        self._labels = labels
        self._preprocessing = preprocessing
        self._device = device
        self._dtype = choice.dtype
        self._ahead = Ahead(self._prepared, threads=decoding_threads, most=AHEAD)
        self._explainer = explainer
        self.signature = Signature(INPUTS, (*OUTPUTS, HEATMAP) if explainer else OUTPUTS)
        self.parameters: dict[str, Any] = {"precision": choice.name, "device": device.type}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        """The most probable labels of each picture, best first; a BadRow where a file is no picture we can read.

        Request parameter `top_k`: labels wanted a picture, 5 if not given, 0 for all. Output `heatmap`: where the best
        label was seen, as a PNG to lay over the picture.
        """
        with device_errors():  # too many large pictures at once: fewer rows may do
            prepared = self._ahead.take(rows)
        good = [one for one in prepared if isinstance(one, Prepared)]
        scored = iter(self._scored(good))
        return [next(scored) if isinstance(one, Prepared) else one for one in prepared]

    def expect(self, rows: Sequence[Row]) -> None:
        """Decodes them before it is their turn; on a GPU while it looks at others."""
        self._ahead.expect(rows)

    def light(self, rows: Sequence[Row]) -> bool:
        """Never: torch is fastest on the thread that built the network."""
        return False

    def close(self) -> None:
        """Ends the decoding threads and gives the network's memory back."""
        self._ahead.close()
        self._network = nn.Identity()
        self._explainer = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _prepared(self, row: Row) -> Prepared | BadRow:
        try:
            wanted = self._wanted(row.parameters.get("top_k", DEFAULT_TOP_K))
            picture = decode(row.inputs[0], enough=self._preprocessing.enough)
        except BadRow as error:
            return error
        return Prepared(self._preprocessing.pixels(picture), wanted, picture.size, HEATMAP.name in row.outputs)

    def _wanted(self, top_k: object) -> int:
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 0:
            raise BadRow(f"top_k must be a whole number, 0 or more (0 means all labels), not {top_k!r}.")
        return min(top_k or len(self._labels), len(self._labels))

    def _scored(self, pictures: Sequence[Prepared]) -> list[RowResult]:
        """What the network says of each, in one call."""
        if not pictures:
            return []
        with torch.no_grad(), device_errors():
            batch = torch.stack([picture.pixels for picture in pictures]).to(self._device)
            batch = self._preprocessing.normalised(batch).to(self._dtype, memory_format=torch.channels_last)
            with self._alone():
                logits, heat = self._seen(batch, explain=any(picture.explain for picture in pictures))
            best = logits.float().softmax(1).topk(max(picture.labels for picture in pictures))
            probabilities, positions = best.values.tolist(), best.indices.tolist()
        results = [
            self._named(values[: picture.labels], places[: picture.labels])
            for picture, values, places in zip(pictures, probabilities, positions, strict=True)
        ]
        if heat is not None:
            for picture, result, own in zip(pictures, results, heat, strict=True):
                if picture.explain:
                    result["heatmap"] = [overlay(own, picture.size, self._preprocessing.seen(*picture.size))]
        return results

    def _alone(self) -> AbstractContextManager[None]:
        """On a CPU nothing is decoded while the network runs: its threads wait for one another, so all would wait for
        the one that shares its core.
        """
        return self._ahead.paused() if self._device.type == "cpu" else nullcontext()

    def _seen(self, batch: torch.Tensor, *, explain: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits, and where they come from if that is wanted."""
        if explain and self._explainer:
            logits, heat = self._explainer(batch)
            return logits, heat.cpu()
        with torch.inference_mode():
            return self._network(batch), None

    def _named(self, probabilities: list[float], positions: list[int]) -> RowResult:
        labels = [self._labels[position] for position in positions]
        return {
            "label": [label.label for label in labels],
            "label_id": [label.label_id for label in labels],
            "probability": probabilities,
        }


def load(directory: Path, manifest: Manifest) -> ImageClassifier:
    """The classifier of a version's folder, in the fastest form that still names its smoke pictures the same.

    Raises VersionUnusable when labels, weights and architecture do not fit, or the weights give no usable numbers.
    """
    cpus = cpu_limit()
    torch.set_num_threads(cpus)
    device = best_device()
    try:
        parameters = msgspec.convert(manifest.parameters, Parameters)
        labels = read_labels(directory)
        network = build(parameters.library, parameters.architecture, classes=len(labels), drawn=False)
        network = fit(network, read_weights(directory / within(parameters.weights)))
        smoke = _smoke_pictures(directory, manifest, parameters.preprocessing)
        with torch.no_grad(), device_errors():
            network = fold_batch_norms(network).to(device).to(memory_format=torch.channels_last)
            network, choice = choose_precision(network, smoke.to(device, memory_format=torch.channels_last))
            blank = torch.zeros(1, 3, *parameters.preprocessing.crop, device=device, dtype=choice.dtype)
            blank = blank.to(memory_format=torch.channels_last)
            if device.type == "cpu" and choice.dtype is torch.bfloat16:  # in float32 no gain was measured
                network = fuse(network, blank)
            explainer = explainer_of(network, blank)
    except (UnusableWeights, NoUsableNumbers, BadRow, msgspec.MsgspecError, OSError, OutOfDeviceMemory) as error:
        raise VersionUnusable(str(error)) from error
    log.info(
        "precision chosen",
        model=manifest.model,
        version=manifest.version,
        precision=choice.name,
        device=device.type,
        reason=choice.reason,
    )
    return ImageClassifier(
        network,
        labels=labels,
        preprocessing=parameters.preprocessing,
        device=device,
        choice=choice,
        decoding_threads=cpus,
        explainer=explainer,
    )


def _smoke_pictures(directory: Path, manifest: Manifest, preprocessing: Preprocessing) -> torch.Tensor:
    """The manifest's smoke pictures as the network sees them: float32 (n, 3, height, width)."""
    files = [(directory / within(smoke.file)).read_bytes() for smoke in manifest.smoke if smoke.file is not None]
    if not files:
        return torch.empty(0, 3, *preprocessing.crop)
    pixels = [preprocessing.pixels(decode(file, enough=preprocessing.enough)) for file in files]
    return preprocessing.normalised(torch.stack(pixels))

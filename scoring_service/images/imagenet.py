"""What is known of networks trained on ImageNet, without their weights: labels, preprocessing, where the file is."""

import math
import re
from dataclasses import dataclass, field

import timm
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from scoring_service.images.architectures import Library, UnusableWeights
from scoring_service.images.labels import Label
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.images.vision import ResNet152_Weights, get_model_weights

_CATEGORIES: list[str] = ResNet152_Weights.IMAGENET1K_V2.meta["categories"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of published weights. `url` and `sha256` (leading hex digits) are None where they are not known."""

    library: Library
    architecture: str
    title: str
    preprocessing: Preprocessing
    labels: list[Label]
    url: str | None = None
    sha256: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def torchvision_source(architecture: str) -> Source:
    """The best weights torchvision knows for the architecture: its DEFAULT.

    Raises UnusableWeights when torchvision has no such architecture, or no ImageNet-1K weights for it.
    """
    try:
        weights = get_model_weights(architecture).DEFAULT
    except (ValueError, AttributeError) as error:
        raise UnusableWeights(f"torchvision has no weights for {architecture!r}") from error
    if weights.meta.get("categories") != _CATEGORIES:
        raise UnusableWeights(f"torchvision's weights for {architecture!r} are not an ImageNet-1K classifier")
    preset = weights.transforms()
    name = re.sub("^ResNet", "ResNet-", type(weights).__name__.removesuffix("_Weights")).replace("_", " ")
    published = weights.meta["_metrics"]["ImageNet-1K"]
    return Source(
        library="torchvision",
        architecture=architecture,
        title=f"{name}, ImageNet-1K",
        preprocessing=Preprocessing(
            resize=(preset.resize_size[0],),
            crop=(preset.crop_size[0], preset.crop_size[0]),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        ),
        labels=imagenet_labels(len(_CATEGORIES)),
        url=weights.url,
        sha256=_hash_in_name(weights.url),
        metrics={
            "published_accuracy@1": round(published["acc@1"] / 100, 5),
            "published_accuracy@5": round(published["acc@5"] / 100, 5),
        },
    )


def timm_source(architecture: str) -> Source:
    """What timm knows of the architecture; a name may carry a tag ("resnet10t.c3_in1k").

    Raises UnusableWeights when timm has no such architecture, or it was not trained on an ImageNet.
    """
    if not timm.is_model(architecture):
        raise UnusableWeights(f"timm has no architecture {architecture!r}")
    known = timm.get_pretrained_cfg(architecture)
    config = {} if known is None else known.to_dict()
    if infer_imagenet_subset(config) is None:
        raise UnusableWeights(f"timm's {architecture!r} was not trained on a known set of ImageNet classes")
    data = resolve_data_config(pretrained_cfg=config)
    height, width = data["input_size"][-2:]
    if data["crop_mode"] == "squash":
        resize: tuple[int, ...] = (
            math.floor(height / data["crop_pct"]),
            math.floor(width / data["crop_pct"]),
        )
    elif data["crop_mode"] == "center" and height == width:
        resize = (math.floor(height / data["crop_pct"]),)
    else:
        raise UnusableWeights(
            f"timm's {architecture!r} wants pictures cut in a way ({data['crop_mode']}) we do not offer"
        )
    return Source(
        library="timm",
        architecture=architecture,
        title=f"{architecture} (timm)",
        preprocessing=Preprocessing(
            resize=resize,
            crop=(height, width),
            mean=data["mean"],
            std=data["std"],
            interpolation=data["interpolation"],
        ),
        labels=imagenet_labels(config["num_classes"]),
    )


def imagenet_labels(classes: int) -> list[Label]:
    """The labels of the ImageNet with so many classes: WordNet ids, and torchvision's names for the usual 1,000.

    Raises UnusableWeights when there is no such ImageNet, or torchvision's and timm's orders disagree: a label would
    then go out with another one's id.
    """
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        raise UnusableWeights(f"no ImageNet has {classes} classes")
    info = ImageNetInfo(subset)
    labels = []
    for index, label_id in enumerate(info.label_names()):
        words = [word.strip() for word in info.index_to_description(index).split(",")]
        name = _CATEGORIES[index] if classes == len(_CATEGORIES) else words[0]
        # torchvision tells two cranes and two maillots apart by a word more: "crane bird".
        if not any(name.lower().startswith(word.lower()) for word in words):
            raise UnusableWeights(f"label {index} is {name!r} for torchvision, but {', '.join(words)!r} for timm")
        labels.append(Label(label_id=label_id, label=name))
    return labels


def _hash_in_name(url: str) -> str | None:
    """The start of the SHA-256 that PyTorch's servers put into file names: "resnet152-f82ba261.pth"."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    return None if found is None else found[1]

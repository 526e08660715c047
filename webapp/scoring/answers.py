"""What the scoring pods tell the site, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Terms:
    """The words that made a match, as they were written: in the question asked, and in the text of the entry."""

    question: Sequence[str]
    entry: Sequence[str]


@dataclass(frozen=True)
class FaqScore:
    """One entry with the probability (0 to 1) that it answers the question. terms: None unless asked for."""

    faq_id: str
    answer_id: str
    probability: float
    terms: Terms | None = None


@dataclass(frozen=True)
class FaqAnswer:
    """Entries, most probable first, from one version of a model; below `threshold` none is a good match.

    model_ms: milliseconds the model itself took, None where the pod does not say.
    """

    scores: Sequence[FaqScore]
    model: str
    version: str
    threshold: float
    model_ms: float | None = None


@dataclass(frozen=True)
class Prediction:
    """One category with its probability (0 to 1). label_id: its stable id, for ImageNet the WordNet id."""

    label: str
    label_id: str
    probability: float


@dataclass(frozen=True)
class ImageAnswer:
    """Categories, most probable first, from one version of a model.

    heatmap: a PNG to lay over the picture, where it shows the first one; None unless asked for.
    """

    predictions: Sequence[Prediction]
    model: str
    version: str
    model_ms: float | None = None
    heatmap: bytes | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A model of the pods. version: the one that answers, "" while none does. sample: only stands in for a real one.
    reason: why it is not ready. explains: whether it can show where it saw what it names.
    """

    name: str
    version: str
    kind: str
    title: str
    description: str
    sample: bool
    ready: bool
    reason: str = ""
    explains: bool = False
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Models:
    """The models of all pods that answer. unreachable: one sentence for each pool that does not."""

    models: Sequence[ModelInfo]
    unreachable: Sequence[str] = ()

    def of_kind(self, kind: str) -> list[ModelInfo]:
        return [model for model in self.models if model.kind == kind]


@dataclass(frozen=True)
class ModelDetails:
    """What one version takes in and gives out, as its pod tells it, in plain values that can be stored as JSON.

    inputs and outputs: {"name", "datatype", "shape"} each, -1 in a shape for any length. parameters: the runtime's own.
    """

    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]

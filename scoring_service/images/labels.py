"""What a network's outputs mean: one label an output, in order, as stored beside the weights."""

from pathlib import Path

import msgspec
from msgspec import Struct

from scoring_service.contract import studied

FILE = "labels.json"


@studied
class Label(Struct, frozen=True):
    """label_id: the stable name programs compare ("n01440764", a WordNet id). label: for people ("tench")."""

    label_id: str
    label: str


def read_labels(directory: Path) -> list[Label]:
    """The labels of the version in `directory`, in the order of the network's outputs.

    Raises msgspec.DecodeError or OSError when they are missing or of another shape.
    """
    return msgspec.json.decode((directory / FILE).read_bytes(), type=list[Label])


def write_labels(directory: Path, labels: list[Label]) -> None:
    (directory / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(labels), indent=1))

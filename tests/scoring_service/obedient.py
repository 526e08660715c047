"""A runtime for tests that does what its rows say, behind the interface of every runtime; and versions of it.

It takes questions as the FAQ matcher does. What a row says:

    hold PATH     the call of the model ends when the file is there
    refuse        this row is bad
    crash         the call of the model raises an error that holds the row's text
    end, stop     it raises SystemExit, StopIteration
    miscount      it returns a result too few
    ragged        it returns a row with an answer more than the others
    lose          the device is lost
    many N        it is answered N times
    large         only as many of these rows as the parameter `fits` says fit into the device's memory at once

Every other row is answered with itself, in `answer_id` with the number of rows that were scored together.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scoring_service import store
from scoring_service.contract import Manifest
from scoring_service.errors import BadRow, DeviceLost, OutOfDeviceMemory
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec


class Obedient:
    signature = Signature(
        inputs=(TensorSpec("question", "BYTES", (-1,)),),
        outputs=(
            TensorSpec("faq_id", "BYTES", (-1, -1)),
            TensorSpec("probability", "FP32", (-1, -1)),
            TensorSpec("answer_id", "BYTES", (-1, -1), optional=True),
        ),
    )

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = {"threshold": 0.5}
        self.fits = parameters.get("fits", 1000)

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        texts = [row.inputs[0] for row in rows]
        if texts.count("large") > self.fits:
            raise OutOfDeviceMemory("too many rows at once")
        for text in texts:
            order, _, path = text.partition(" ")
            if order == "crash":
                raise RuntimeError(text)
            if order == "end":
                raise SystemExit(1)
            if order == "stop":
                raise StopIteration
            if order == "lose":
                raise DeviceLost("the device is gone")
            while order == "hold" and not Path(path).exists():
                time.sleep(0.002)
        results = [self.answer(text, len(rows)) for text in texts]
        return results[: -1 if "miscount" in texts else None]

    def answer(self, text: str, together: int) -> RowResult | BadRow:
        if text == "refuse":
            return BadRow("as you wish")
        order, _, times = text.partition(" ")
        answers = int(times) if order == "many" else 2 if text == "ragged" else 1
        return {"faq_id": [text] * answers, "probability": [1.0] * answers, "answer_id": [str(together)] * answers}

    def close(self) -> None:
        pass


def load(directory: Path, manifest: Manifest) -> Obedient:
    if manifest.parameters.get("lost"):
        raise DeviceLost("the device is gone")
    return Obedient(manifest.parameters)


def write(root: Path, model: str = "obedient", *, champion: bool = True, **fields: Any) -> Manifest:
    """A new version of the model in the store at `root`; fields: more of its manifest."""

    def build(folder: Path) -> dict[str, Any]:
        (folder / "words.txt").write_text("as it is written")
        return {
            "kind": "faq",
            "runtime": "obedient",
            "pool": "cpu",
            "title": "Does as it is told",
            "sample": True,
            "libraries": {"msgspec": store.metadata.version("msgspec")},
            "smoke": [{"text": "are you there?"}],
            **fields,
        }

    manifest = store.write_version(root, model, build)
    if champion:
        store.set_champion(root, model, manifest.version)
    return manifest

"""A runtime for tests that does what its rows say, behind the interface of every runtime; and versions of it.

It takes questions as the FAQ matcher does. What a row says:

    hold PATH     the call of the model ends when the file is there
    sleep MS      it takes so many milliseconds
    refuse        this row is bad
    crash         the call of the model raises an error that holds the row's text
    end, stop     it raises SystemExit, StopIteration
    miscount      it returns a result too few
    ragged        it returns a row with an answer more than the others
    lose          the device is lost
    many N        it is answered N times
    parameters    it is answered with the request's parameters, as JSON
    light ORDER   this row may be scored on the event loop's thread
    large         only as many of these rows as the parameter `fits` says fit into the device's memory at once

Every other row is answered with itself, in `answer_id` with the number of rows that were scored together.

What a version's manifest says in its `parameters`:

    slow_ms       every call of the model takes so many milliseconds longer
    crash         every call of the model raises an error, but for smoke inputs
    answers       row to its answers, best first: {"row": [["faq id", 0.9], …]}
    allocate_mb   loading takes so much memory, at once; allocate_by_the_mb: bit by bit
    file_mb       one of its files is so large (and holds nothing)
    reads         loading waits for this file, then reads the version's own
    lost          loading finds the device lost
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from scoring_service import store
from scoring_service.contract import Challenger, Manifest, Routing
from scoring_service.errors import BadRow, DeviceLost, OutOfDeviceMemory
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

SMOKE = "are you there?"


class Obedient:
    signature = Signature(
        inputs=(TensorSpec("question", "BYTES", (-1,)),),
        outputs=(
            TensorSpec("faq_id", "BYTES", (-1, -1)),
            TensorSpec("probability", "FP32", (-1, -1)),
            TensorSpec("answer_id", "BYTES", (-1, -1), optional=True),
            TensorSpec("terms", "BYTES", (-1, -1), optional=True),
        ),
    )

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = {"threshold": 0.5}
        self.fits = parameters.get("fits", 1000)
        self.slow = parameters.get("slow_ms", 0) / 1000
        self.crashes = parameters.get("crash", False)
        self.answers = parameters.get("answers", {})
        self.held = [b"x" * (parameters.get("allocate_mb", 0) * 2**20)]
        self.held += (b"x" * 2**20 for _ in range(parameters.get("allocate_by_the_mb", 0)))

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        texts = [row.inputs[0] for row in rows]
        time.sleep(self.slow)
        if self.crashes and texts != [SMOKE]:
            raise RuntimeError("as its manifest says")
        if texts.count("large") > self.fits:
            raise OutOfDeviceMemory("too many rows at once")
        for text in texts:
            order, _, path = text.removeprefix("light ").partition(" ")
            if order == "crash":
                raise RuntimeError(text)
            if order == "end":
                raise SystemExit(1)
            if order == "stop":
                raise StopIteration
            if order == "lose":
                raise DeviceLost("the device is gone")
            if order == "sleep":
                time.sleep(int(path) / 1000)
            while order == "hold" and not Path(path).exists():
                time.sleep(0.002)
        results = [self.answer(row, len(rows)) for row in rows]
        return results[: -1 if "miscount" in texts else None]

    def answer(self, row: Row, together: int) -> RowResult | BadRow:
        [text] = row.inputs
        if text == "refuse":
            return BadRow("as you wish")
        order, _, times = text.partition(" ")
        number = int(times) if order == "many" else 2 if text == "ragged" else 1
        said = json.dumps(dict(row.parameters)) if text == "parameters" else text
        answers = self.answers.get(text, [[said, 1.0]] * number)
        return {
            "faq_id": [faq_id for faq_id, _ in answers],
            "probability": [probability for _, probability in answers],
            "answer_id": [str(together)] * len(answers),
            "terms": ['{"question": [], "entry": []}'] * len(answers),
        }

    def light(self, rows: Sequence[Row]) -> bool:
        return all(row.inputs[0].startswith("light") for row in rows)

    def close(self) -> None:
        pass


def load(directory: Path, manifest: Manifest) -> Obedient:
    if manifest.parameters.get("lost"):
        raise DeviceLost("the device is gone")
    if path := manifest.parameters.get("reads"):
        while not Path(path).exists():
            time.sleep(0.002)
        (directory / "words.txt").read_text()
    return Obedient(manifest.parameters)


def write(root: Path, model: str = "obedient", *, champion: bool = True, **fields: Any) -> Manifest:
    """A new version of the model in the store at `root`; fields: more of its manifest."""

    def build(folder: Path) -> dict[str, Any]:
        (folder / "words.txt").write_text("as it is written")
        if megabytes := fields.get("parameters", {}).get("file_mb"):
            with (folder / "large.bin").open("wb") as file:
                file.truncate(megabytes * 2**20)
        return {
            "kind": "faq",
            "runtime": "obedient",
            "pool": "cpu",
            "title": "Does as it is told",
            "sample": True,
            "libraries": {"msgspec": store.metadata.version("msgspec")},
            "smoke": [{"text": SMOKE}],
            **fields,
        }

    manifest = store.write_version(root, model, build)
    if champion:
        store.set_champion(root, model, manifest.version)
    return manifest


def route(root: Path, champion: str, *, model: str = "obedient", **roles: Any) -> None:
    """Replaces the model's routing file in one step; roles: challenger=("2", 10), standby="1", warm=["3"]."""
    if challenger := roles.get("challenger"):
        roles["challenger"] = Challenger(*challenger)
    target = root / model / "routing.json"
    scratch = target.with_suffix(".new")
    scratch.write_bytes(msgspec.json.encode(Routing(champion, **roles)))
    scratch.replace(target)

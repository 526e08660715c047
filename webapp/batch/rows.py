"""One input and what became of it, as they stand in the files of a job: JSON lines, compressed."""

import msgspec


class InputRow(msgspec.Struct, omit_defaults=True):
    """A question to ask, or where the bytes of a picture lie; or why it cannot be scored, in `error`.

    row: from 0. id: the caller's own, often empty. name: of the picture in its zip. offset: where its entry begins in
    the zip; packed and size: bytes there and unpacked; method: 0 stored, 8 deflated; crc: of the unpacked bytes.
    """

    row: int
    id: str = ""
    question: str = ""
    name: str = ""
    offset: int = 0
    packed: int = 0
    size: int = 0
    method: int = 0
    crc: int = 0
    error: str = ""


class Answer(msgspec.Struct, omit_defaults=True):
    """One answer of a model: an entry of the FAQ or a label, with its probability from 0 to 1.

    answer_id: of the entry's answer; of FAQs only.
    """

    id: str
    label: str
    probability: float
    answer_id: str = ""


class ResultRow(msgspec.Struct, omit_defaults=True):
    """What became of an input: answers, the best first, and the version that gave them; or why there are none."""

    row: int
    id: str = ""
    question: str = ""
    name: str = ""
    version: str = ""
    answers: list[Answer] = []
    error: str = ""

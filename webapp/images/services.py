"""Names what is in pictures."""

import contextvars
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from webapp import problems
from webapp.errors import AppError, InvalidInput
from webapp.images.checks import Upload, check_picture, media_type
from webapp.images.queries import image_model
from webapp.keys.principal import Principal
from webapp.registry import shadow
from webapp.registry.pins import require_pinnable
from webapp.request_ids import current_request_id
from webapp.scoring.answers import ImageAnswer, ModelInfo, Prediction
from webapp.scoring.client import scoring_client
from webapp.usage import services as usage
from webapp.usage.feedback import Judged, numbered
from webapp.usage.models import ScoringRecord

TIMEOUT = 20.0  # seconds for one picture, from the site's side
KEPT_IN_HISTORY = 3  # predictions
SENT_BACK = 2_000_000  # bytes of a picture at most


@dataclass(frozen=True)
class Card:
    """What became of one file: predictions, most probable first, or the reason why there are none.

    name: the filename, with a number where another one has it too. version: which answered or failed; "" where no pod
    has said. data: the file. explains: whether the model can show where it saw what it names.
    """

    field: str
    filename: str
    name: str
    data: bytes
    answer: ImageAnswer | None
    failure: AppError | None
    model: str
    model_title: str
    explains: bool
    version: str
    duration_ms: float
    request_id: str

    @property
    def predictions(self) -> Sequence[Prediction]:
        return self.answer.predictions if self.answer else ()

    @property
    def heatmap(self) -> str | None:
        """A PNG in base64 to lay over the picture; None unless it was asked for."""
        heatmap = self.answer.heatmap if self.answer else None
        return None if heatmap is None else b64encode(heatmap).decode()

    @property
    def picture_url(self) -> str:
        """The picture itself as a data URL; "" where it is too large to be sent back."""
        if len(self.data) > SENT_BACK:
            return ""
        return f"data:{media_type(self.data)};base64,{b64encode(self.data).decode()}"

    @property
    def judged(self) -> Judged:
        """What people may call right or wrong of it."""
        return Judged(ScoringRecord.Kind.IMAGE.value, self.request_id, self.model, self.version, [self.name])

    @property
    def error(self) -> dict[str, Any] | None:
        """The failure as a problem: title, detail and the rest."""
        return problems.problem_of(self.failure) if self.failure else None


def classify(
    uploads: Sequence[Upload],
    *,
    who: Principal,
    source: ScoringRecord.Source,
    model: str | None = None,
    version: str = "",
    top_k: int = 5,
    explain: bool = False,
    again: bool = False,
) -> list[Card]:
    """One card for each file, in their order; a bad file spoils no other. All of them are in the history.

    model: by default the one that the page offers first; version: "" for whichever serves; explain: with where the
    first category was seen; again: the same files were just classified, and are in the history since.
    Raises NotFound for a model that does not exist, ScoringUnavailable when no pod says which there are, NotAllowed or
    InvalidInput for a version that may not be asked for, InvalidInput for a model that cannot explain.
    """
    chosen = image_model(model)
    if explain and not chosen.explains:
        cannot = f"{chosen.title} cannot show where it saw something; leave this out, or name another model."
        raise InvalidInput(cannot, field="explain")
    if version:
        require_pinnable(chosen.name, version, who)

    def card(number: int, name: str) -> Card:
        return _card(
            uploads[number],
            name,
            chosen,
            attempt=usage.Attempt(chosen.name, further=number > 0),
            who=who,
            source=source,
            version=version,
            top_k=top_k,
            explain=explain,
        )

    names = numbered(upload.filename for upload in uploads)
    if len(uploads) == 1:
        cards = [card(0, names[0])]
    else:
        # All at once, so that the pod can score them as one batch. The context carries the request's id.
        with ThreadPoolExecutor(max_workers=max(1, len(uploads))) as threads:
            waiting = [
                threads.submit(contextvars.copy_context().run, card, number, name) for number, name in enumerate(names)
            ]
            cards = [each.result() for each in waiting]
    for upload, each in zip(uploads, cards, strict=True):
        if again:
            continue
        _record(each, who, source, pinned=bool(version))
        if each.answer and not version:
            shadow.offer_image(upload.data, each.answer)
    return cards


def failure_of_all(cards: Sequence[Card]) -> AppError | None:
    """The error that stands for all of them when no file was classified; None when one was.

    A failure of the pods counts more than a bad file: it says when to come back.
    """
    failures = [card.failure for card in cards if card.failure]
    if len(failures) < len(cards) or not failures:
        return None
    return max(failures, key=lambda failure: problems.kind_of(failure).status)


def failures_among(cards: Sequence[Card]) -> int:
    """How many files were not classified."""
    return sum(card.failure is not None for card in cards)


def _card(
    upload: Upload,
    name: str,
    model: ModelInfo,
    *,
    attempt: usage.Attempt,
    who: Principal,
    source: ScoringRecord.Source,
    version: str,
    top_k: int,
    explain: bool,
) -> Card:
    answer: ImageAnswer | None = None
    failure: AppError | None = None
    try:
        check_picture(upload)
        with usage.counted(attempt, who, source=source, pinned=bool(version)):
            answer = scoring_client().classify_image(
                upload.data,
                model=attempt.model,
                top_k=top_k,
                explain=explain,
                timeout=TIMEOUT,
                version=version or None,
                routing_key=who.routing_key,
            )
            attempt.answered(answer.version, [each.probability for each in answer.predictions])
    except AppError as error:
        failure = error
    return Card(
        field=upload.field,
        filename=upload.filename,
        name=name,
        data=upload.data,
        answer=answer,
        failure=failure,
        model=model.name,
        model_title=model.title,
        explains=model.explains,
        version=attempt.version,
        duration_ms=attempt.duration_ms,
        request_id=current_request_id(),
    )


def _record(card: Card, who: Principal, source: ScoringRecord.Source, *, pinned: bool) -> None:
    usage.record(
        who,
        kind=ScoringRecord.Kind.IMAGE,
        source=source,
        subject=card.filename,
        duration_ms=card.duration_ms,
        answer=[
            {"id": each.label_id, "label": each.label, "probability": each.probability}
            for each in card.predictions[:KEPT_IN_HISTORY]
        ],
        model=card.model,
        version=card.version,
        outcome=problems.kind_of(card.failure).slug if card.failure else ScoringRecord.OK,
        request_id=card.request_id,
        pinned=pinned,
    )

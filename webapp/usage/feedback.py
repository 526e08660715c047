"""What people say of answers: right or wrong. One verdict for a person and answer, which may be changed and taken back.

A page shows by a signed token what it may be said of; a program names its request, which is looked up in the history.
What visitors say is kept for nobody here: it tells the receivers of `said`, and does not count for the version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.core import signing
from django.dispatch import Signal
from django.utils import timezone

from webapp.accounts.models import User
from webapp.errors import InvalidInput, NotFound, NotSignedIn
from webapp.usage.models import Feedback, ScoringRecord

SALT = "webapp.usage.feedback"
PAGE_IS_GOOD_FOR = timedelta(hours=24)
NONE_OF_THESE = ""  # the item that is meant by somebody who says so
MOST_RECORDS = 50  # of one request, whose id callers may choose and use again


# Sent with user (None: a visitor), judged, item and right, None where it was taken back.
said = Signal()


@dataclass(frozen=True)
class Judged:
    """What can be called right or wrong: the answers of one version to one request.

    items: the ids of the FAQ entries, best first, or the names of the pictures.
    """

    kind: str
    request_id: str
    model: str
    version: str
    items: Sequence[str]


def say(user: User | None, judged: Judged, item: str, *, right: bool) -> Feedback:
    """Keeps the verdict in place of an earlier one. Raises InvalidInput for an item that was not answered with.

    item: NONE_OF_THESE to say that nothing that was found is right, which says nothing about the version: it may have
    said so itself.
    """
    _require(judged, item)
    about = {"kind": judged.kind, "model": judged.model, "version": judged.version}
    feedback = Feedback(request_id=judged.request_id, item=item, right=right, **about)
    if user is not None and item != NONE_OF_THESE:
        feedback, _ = Feedback.objects.update_or_create(
            user=user,
            request_id=judged.request_id,
            item=item,
            defaults={**about, "right": right, "at": timezone.now()},
        )
    said.send(Feedback, user=user, judged=judged, item=item, right=right)
    return feedback


def take_back(user: User | None, judged: Judged, item: str) -> None:
    """Forgets the verdict, if there is one."""
    _require(judged, item)
    if user is not None:
        Feedback.objects.filter(user=user, request_id=judged.request_id, item=item).delete()
    said.send(Feedback, user=user, judged=judged, item=item, right=None)


def _require(judged: Judged, item: str) -> None:
    if item not in judged.items and (item != NONE_OF_THESE or judged.kind != ScoringRecord.Kind.FAQ):
        known = ", ".join(judged.items[:10])
        raise InvalidInput(f"The answer has nothing called {item!r}. It has: {known}.", field="id")


# What a verdict is about ----------------------------------------------------------------------------------------------


def token_for(user: User | None, judged: Judged) -> str:
    """A text that lets this person, or who visits, and nobody else, judge the answers for a day."""
    about = [
        user.pk if user else None,
        judged.kind,
        judged.request_id,
        judged.model,
        judged.version,
        list(judged.items),
    ]
    return signing.dumps(about, salt=SALT)


def read_token(user: User | None, token: str) -> Judged:
    """What the token was made for. Raises InvalidInput when it is too old, not ours or somebody else's; NotSignedIn for
    a visitor with that of a person.
    """
    try:
        owner, *about = signing.loads(token, salt=SALT, max_age=PAGE_IS_GOOD_FOR)
    except signing.SignatureExpired:
        owner, about = 0, []
    except signing.BadSignature:
        owner, about = -1, []
    if user is None and owner:
        raise NotSignedIn("Sign in again first.")
    if owner != (user.pk if user else None):
        raise InvalidInput("This page is too old to tell which answer you mean. Ask again first.", field="token")
    return Judged(*about)


def answer_to(user: User, request_id: str, item: str = "") -> tuple[Judged, str]:
    """What the person's own request to the API was answered with, and which item of it is meant.

    item: "" for the best match, or the only picture. Raises NotFound and InvalidInput.
    """
    records = ScoringRecord.objects.filter(user=user, request_id=request_id, source=ScoringRecord.Source.API)
    newest = list(records.order_by("-pk")[:MOST_RECORDS])
    names = numbered(record.subject for record in reversed(newest))
    answers = [
        judged
        for record, name in zip(newest, reversed(names), strict=True)
        if record.ok and (judged := _judged(record, name)).items
    ]
    if not answers:
        raise NotFound("No answered request of yours has this id. It may be deleted from your history.")
    if item:
        judged = next((each for each in answers if item in each.items), answers[0])
        return judged, item
    if answers[0].kind == ScoringRecord.Kind.IMAGE and len(answers) > 1:
        pictures = ", ".join(each.items[0] for each in reversed(answers))
        raise InvalidInput(f"That request had several pictures. Name the one you mean: {pictures}.", field="id")
    return answers[0], answers[0].items[0]


def _judged(record: ScoringRecord, name: str) -> Judged:
    faq = record.kind == ScoringRecord.Kind.FAQ
    items = [str(each["id"]) for each in record.answer] if faq else [name]
    return Judged(record.kind, record.request_id, record.model, record.version, items)


def numbered(names: Iterable[str]) -> list[str]:
    """The names, each made unique: one that comes again gets a number, as "picture#2"."""
    found: dict[str, None] = {}
    for name in names:
        unique, times = name, 1
        while unique in found:
            times += 1
            unique = f"{name}#{times}"
        found[unique] = None
    return list(found)

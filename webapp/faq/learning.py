"""What accepted phrasings brought: whether a version that was trained with them answers what else was asked like them.

The accepted wordings themselves say nothing, for the version has learned them. The others of their groups do: how they
were matched when they were asked is known, and the new version is asked once more.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db.models import Max
from django.utils import timezone

from webapp.errors import ScoringError
from webapp.faq.asked import digest_of
from webapp.faq.changes import champion_of, publication_of
from webapp.faq.models import AskedQuestion, Collection, Learned, Phrasing, QuestionGroup
from webapp.registry.models import Version
from webapp.scoring.client import scoring_client

log = structlog.get_logger(__name__)

MOST = 500  # questions that are asked once more, the latest
AT_ONCE = 50
TIMEOUT = 20.0  # seconds for so many


def measure_all() -> None:
    """Measures each version that has begun to serve a collection since phrasings were accepted. May run twice."""
    accepted = QuestionGroup.objects.filter(state=QuestionGroup.State.ACCEPTED, phrasings__gt=0)
    for collection in Collection.objects.filter(pk__in=accepted.values("collection")):
        version = champion_of(collection)
        if version and not Learned.objects.filter(collection=collection, version=version.name).exists():
            try:
                measure(collection, version)
            except ScoringError as error:  # the pods are away: the next time
                log.warning("accepted_not_measured", collection=collection.slug, error=str(error))


def measure(collection: Collection, version: Version) -> Learned:
    """Asks the version what was asked like the phrasings that it is the first to know. Raises ScoringError."""
    before = Learned.objects.filter(collection=collection).aggregate(at=Max("trained_at"))["at"]
    trained_at = _trained_at(version)
    groups = QuestionGroup.objects.filter(
        collection=collection,
        state=QuestionGroup.State.ACCEPTED,
        phrasings__gt=0,
        closed_at__lt=trained_at,
        **({"closed_at__gte": before} if before else {}),
    )
    entry_of = dict(groups.values_list("pk", "entry_id"))
    questions = _others(collection, entry_of)
    answers = [answer for some in _cut(questions) for answer in _ask(collection, version, some)]
    expected = [entry_of[question.group_id] for question in questions if question.group_id]
    learned, _ = Learned.objects.get_or_create(
        collection=collection,
        version=version.name,
        defaults={
            "trained_at": trained_at,
            "at": timezone.now(),
            "phrasings": sum(groups.values_list("phrasings", flat=True)),
            "questions": len(questions),
            "before": sum(map(_was_answered, questions, expected)),
            "after": sum(answer == entry for answer, entry in zip(answers, expected, strict=True)),
        },
    )
    return learned


def _trained_at(version: Version) -> datetime:
    """When the entries were read that it was trained on."""
    published = publication_of(version)
    return published.snapshot_at if published and published.snapshot_at else version.registered_at


def _others(collection: Collection, entry_of: dict[int, str]) -> list[AskedQuestion]:
    """Of each wording in the groups that no phrasing of the entry has, the question that was asked last before."""
    entries = set(entry_of.values())
    phrasings = Phrasing.objects.filter(entry__collection=collection, entry__external_id__in=entries)
    known = {digest_of(text) for text in phrasings.values_list("text", flat=True)}
    found: dict[str, AskedQuestion] = {}
    for question in AskedQuestion.objects.filter(group__in=entry_of).order_by("-pk"):
        if question.digest not in known and len(found) < MOST:
            found.setdefault(question.digest, question)
    return list(found.values())


def _cut(questions: Sequence[AskedQuestion]) -> list[Sequence[AskedQuestion]]:
    return [questions[first : first + AT_ONCE] for first in range(0, len(questions), AT_ONCE)]


def _ask(collection: Collection, version: Version, questions: Sequence[AskedQuestion]) -> list[str]:
    """The id of the entry that each is answered with, "" for no match."""
    own = collection.threshold
    texts = [question.text for question in questions]
    found = scoring_client().match_many(
        texts, model=collection.model_name, top_k=1, timeout=TIMEOUT, version=version.name
    )
    return [
        answer.scores[0].faq_id
        if answer.scores and answer.scores[0].probability >= (own if own is not None else answer.threshold)
        else ""
        for answer in found
    ]


def _was_answered(question: AskedQuestion, entry_id: str) -> bool:
    return question.outcome != AskedQuestion.Outcome.NONE and question.best_id == entry_id

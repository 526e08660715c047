"""Keeps what people ask, for editors to see what is lacking.

`note` is on the way of every answer and only puts the question into memory (webapp/counting.py); a thread of the
process writes once a second. A question typed letter by letter stays one row, as in the history.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from webapp.accounts.models import User
from webapp.counting import Accumulator
from webapp.faq.masking import masked
from webapp.faq.models import EXACT, AskedQuestion, Collection, Mark, QuestionDay, QuestionGroup
from webapp.faq.similar import words_of
from webapp.usage.models import ScoringRecord
from webapp.usage.services import LIVE_FOR, SAME_FOR, continues

LONGEST = 1_000  # characters that are kept of a question
NARROWLY = 0.1  # of probability: a match this near to the threshold, or to the next one, is a narrow one; to a high
# threshold half of what is above it
CANDIDATES = 3
DAYS_KEPT_FOR = timedelta(days=750)
AT_ONCE = 500  # rows that are deleted in one statement
Outcome = AskedQuestion.Outcome
Score = tuple[str, float]  # the id of an entry, and the probability that it answers


@dataclass(frozen=True)
class Asking:
    """One question and how it was matched. scores: best first. typing: what the page calls who types."""

    collection_id: int
    keeps: bool
    user_id: int | None
    text: str
    request_id: str
    typing: str
    live: bool
    from_page: bool
    at: datetime
    version: str
    scores: Sequence[Score]
    threshold: float

    @property
    def outcome(self) -> Outcome:
        likely = [probability for _, probability in self.scores if probability >= self.threshold]
        if not likely:
            return Outcome.NONE
        if likely[0] >= EXACT:
            return Outcome.ANSWERED
        just_reached = likely[0] - self.threshold < min(NARROWLY, (1 - self.threshold) / 2)
        close = len(likely) > 1 and likely[0] - likely[1] < NARROWLY
        return Outcome.NARROW if just_reached or close else Outcome.ANSWERED

    def row(self) -> AskedQuestion:
        text = masked(self.text)[:LONGEST]
        return AskedQuestion(
            collection_id=self.collection_id,
            user_id=self.user_id,
            text=text,
            digest=digest_of(text),
            request_id=self.request_id,
            typing=self.typing,
            live=self.live,
            at=self.at,
            version=self.version,
            candidates=[[name, round(probability, 4)] for name, probability in self.scores[:CANDIDATES]],
            best_id=self.scores[0][0] if self.scores else "",
            outcome=self.outcome,
            for_review=self.outcome != Outcome.ANSWERED,
        )


def digest_of(text: str) -> str:
    """The same for texts with the same words in the same order."""
    return hashlib.blake2b(" ".join(words_of(text)).encode(), digest_size=16).hexdigest()


@dataclass
class Waiting:
    """Questions of one who asks, oldest first. One that goes on being typed is one question."""

    requests: int = 0
    asked: list[Asking] = field(default_factory=list)

    def add(self, other: "Waiting") -> None:
        for asking in other.asked:
            last = self.asked[-1] if self.asked else None
            if last and last.live and continues(last.text, asking.text):
                self.asked[-1] = asking
            else:
                self.asked.append(asking)
        self.requests += other.requests


# Writing --------------------------------------------------------------------------------------------------------------


def _write(waiting: Mapping[str, Waiting]) -> None:
    asked = sorted(itertools.chain.from_iterable(each.asked for each in waiting.values()), key=lambda each: each.at)
    try:
        _write_all(asked)
    except OperationalError:  # the database is away: all of it is tried again later
        raise
    except DatabaseError:
        # An account, a collection or a question is deleted meanwhile; the others' questions shall not go with it.
        for asking in asked:
            try:
                _write_all([asking])
            except OperationalError:
                raise
            except DatabaseError:
                continue


@transaction.atomic
def _write_all(asked: Sequence[Asking]) -> None:
    recent = _recent(asked)
    new: list[AskedQuestion] = []
    days: Counter[tuple[int, date, str]] = Counter()
    for asking in asked:
        day = asking.at.astimezone(UTC).date()
        if not asking.keeps:
            # Which letters belong to one question is known by what was kept: only what was sent counts.
            days[asking.collection_id, day, asking.outcome] += 0 if asking.live else 1
            continue
        row = asking.row()
        if row.live and any(_goes_on(row, later) for later in recent):
            continue  # another process had the next key press before this one
        before = _continued(recent, row) or _repeated(recent, asking, row)
        if before is not None and before.digest == row.digest and (before.verdict or not before.live):
            # Asked once more, perhaps by a page that is loaded again: what is said next is said of that answer.
            before.live = row.live
            before.request_id = before.request_id if before.verdict else row.request_id
            if before not in new:
                before.save(update_fields=["live", "request_id"])
            continue
        if before is not None:
            days[before.collection_id, before.at.astimezone(UTC).date(), before.outcome] -= 1
            row.pk = before.pk
            recent.remove(before)
        days[asking.collection_id, day, asking.outcome] += 1
        if row.pk and before not in new:
            row.save(force_update=True)
        else:
            if before is not None:
                new.remove(before)
            new.append(row)
        if row.typing or row.user_id:
            recent.append(row)
    AskedQuestion.objects.bulk_create(new)
    _count(days)


def _recent(asked: Sequence[Asking]) -> list[AskedQuestion]:
    """What was asked last by those who ask now, oldest first."""
    kept = [each for each in asked if each.keeps and each.from_page]
    if not kept:
        return []
    typing = {each.typing for each in kept if each.typing}
    people = {each.user_id for each in kept if each.user_id}
    since = min(each.at for each in kept) - max(LIVE_FOR, SAME_FOR)
    who = Q(typing__in=typing) | Q(user__in=people)
    return list(AskedQuestion.objects.filter(who, at__gte=since).order_by("at", "pk"))


def _same_asker(before: AskedQuestion, row: AskedQuestion) -> bool:
    if before.collection_id != row.collection_id or before.user_id != row.user_id:
        return False
    return before.typing == row.typing and bool(row.typing or row.user_id)


def _goes_on(row: AskedQuestion, later: AskedQuestion) -> bool:
    """Whether what was typed went on to be the later one."""
    return _same_asker(later, row) and row.at < later.at <= row.at + LIVE_FOR and continues(row.text, later.text)


def _continued(recent: Iterable[AskedQuestion], row: AskedQuestion) -> AskedQuestion | None:
    for before in reversed(list(recent)):
        if before.live and _same_asker(before, row) and row.at - before.at <= LIVE_FOR:
            return before if continues(before.text, row.text) else None
    return None


def _repeated(recent: Sequence[AskedQuestion], asking: Asking, row: AskedQuestion) -> AskedQuestion | None:
    return next((each for each in reversed(recent) if asking.from_page and _is_the_same(each, row)), None)


def _is_the_same(before: AskedQuestion, row: AskedQuestion) -> bool:
    """Whether a person's page was loaded again."""
    return (
        row.user_id is not None
        and (before.user_id, before.collection_id) == (row.user_id, row.collection_id)
        and before.digest == row.digest
        and row.at - before.at <= SAME_FOR
    )


def _count(days: Mapping[tuple[int, date, str], int]) -> None:
    for (collection_id, day, outcome), more in days.items():
        if more:
            row, _ = QuestionDay.objects.get_or_create(collection_id=collection_id, day=day)
            QuestionDay.objects.filter(pk=row.pk).update(**{outcome: F(outcome) + more})


_accumulator: Accumulator[str, Waiting] = Accumulator("questions", _write)
_numbers = itertools.count()
write_in_background = _accumulator.write_in_background
write = _accumulator.write
forget = _accumulator.forget


def note(
    collection: Collection,
    *,
    user_id: int | None,
    text: str,
    request_id: str,
    version: str,
    scores: Sequence[Score],
    threshold: float,
    from_page: bool,
    live: bool = False,
    typing: str = "",
) -> None:
    """Keeps the question, or where the collection keeps none only counts it. Costs some microseconds.

    user_id: None of a visitor. scores: of the entries that were shown, best first.
    """
    asking = Asking(
        collection_id=collection.pk,
        keeps=collection.keeps_questions,
        user_id=user_id,
        text=text,
        request_id=request_id,
        typing=typing,
        live=live,
        from_page=from_page,
        at=timezone.now(),
        version=version,
        scores=scores,
        threshold=threshold,
    )
    subject = f"{collection.pk} {user_id} {typing}" if from_page and (user_id or typing) else f"#{next(_numbers)}"
    _accumulator.add(subject, Waiting(1, [asking]))


# Forgetting -----------------------------------------------------------------------------------------------------------


def forget_asked(user: User, record: ScoringRecord | None) -> None:
    """Deletes the question of that row of the person's history, and what was said of its answer; None: all of them."""
    theirs = AskedQuestion.objects.filter(user=user)
    found = theirs
    if record is not None:
        # A page that is loaded again is the same row, but the question goes by the id of what was shown last.
        again = Q(
            digest=digest_of(masked(record.subject)[:LONGEST]),
            at__gte=record.created_at - SAME_FOR,
            at__lte=record.created_at + SAME_FOR,
        )
        found = theirs.filter(Q(request_id=record.request_id) | again)
    groups = _groups_of(found)
    found.delete()
    Mark.objects.filter(user=user).exclude(request_id__in=theirs.values("request_id")).delete()
    recount(groups)


def forget_all(collection: Collection) -> int:
    """Deletes all questions of the collection, and what was said of the answers; returns how many questions."""
    count, _ = AskedQuestion.objects.filter(collection=collection).delete()
    QuestionGroup.objects.filter(collection=collection).delete()
    Mark.objects.filter(collection=collection).delete()
    return count


def prune() -> None:
    """Deletes what is too old to keep, and what is kept where nothing is to be."""
    now = timezone.now()
    for collection in Collection.objects.all():
        if not collection.keeps_questions:
            forget_all(collection)
            continue
        oldest = now - timedelta(days=collection.kept_days)
        Mark.objects.filter(collection=collection, at__lt=oldest).delete()
        old = AskedQuestion.objects.filter(collection=collection, at__lt=oldest)
        while ids := list(old.values_list("pk", flat=True)[:AT_ONCE]):
            some = AskedQuestion.objects.filter(pk__in=ids)
            groups = _groups_of(some)
            some.delete()
            recount(groups)
        # Those of accounts that were deleted.
        QuestionGroup.objects.filter(collection=collection, questions=None).delete()
    QuestionDay.objects.filter(day__lt=now.date() - DAYS_KEPT_FOR).delete()


def _groups_of(questions: QuerySet[AskedQuestion]) -> list[int]:
    return list(questions.exclude(group=None).values_list("group", flat=True).distinct())


def recount(groups: Sequence[int]) -> None:
    """Has the groups know how many questions they have, and when the last was asked; one without is deleted."""
    QuestionGroup.objects.filter(pk__in=groups, questions=None).delete()
    of_group = AskedQuestion.objects.filter(group=OuterRef("pk")).order_by().values("group")
    QuestionGroup.objects.filter(pk__in=groups).update(
        asked=Subquery(of_group.values(count=Count("pk"))), last_at=Subquery(of_group.values(last=Max("at")))
    )

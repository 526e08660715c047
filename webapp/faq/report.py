"""What the report of a collection shows its editors: how much was asked, how well it was answered, and what is lacking.

Figures by day outlive the questions (models.QuestionDay); all the rest is read from what is kept of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from webapp.charts import Series
from webapp.faq import review
from webapp.faq.models import AskedQuestion, Collection, Entry, Mark, QuestionDay, QuestionGroup

SHOWN = 10  # lines of each list
LOOKED_AT = 100  # groups, of those asked most often, among which gaps are looked for
Outcome = AskedQuestion.Outcome


@dataclass(frozen=True)
class EntryLine:
    """An entry of the report. asked: how often it came first; right, wrong: how often people called it that."""

    entry: Entry
    asked: int
    narrow: int
    right: int
    wrong: int

    @property
    def share_wrong(self) -> float:
        return self.wrong / (self.right + self.wrong) if self.right + self.wrong else 0.0


@dataclass(frozen=True)
class Report:
    """Of the last `days` days (UTC), today with them. nothing: how often somebody said that no match was right."""

    days: int
    asked: int
    answered: int
    narrow: int
    unanswered: int
    right: int
    wrong: int
    nothing: int
    asked_by_day: Sequence[Series]
    answered_by_day: Sequence[Series]
    most_asked: Sequence[EntryLine]
    worst_answered: Sequence[EntryLine]
    gaps: Sequence[review.Item]

    @property
    def share_answered(self) -> float:
        return (self.answered + self.narrow) / self.asked if self.asked else 0.0


def of(collection: Collection, days: int) -> Report:
    today = timezone.now().astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, time(), UTC)
    rows = {row.day: row for row in QuestionDay.objects.filter(collection=collection, day__gte=first)}
    span = [(datetime.combine(day, time(), UTC), rows.get(day)) for day in (first + timedelta(n) for n in range(days))]
    answered = sum(row.answered for row in rows.values())
    narrow = sum(row.narrow for row in rows.values())
    unanswered = sum(row.none for row in rows.values())
    marks = Mark.objects.filter(collection=collection, at__gte=since)
    said = marks.aggregate(
        rights=Count("pk", filter=Q(right=True)),
        wrongs=Count("pk", filter=Q(right=False) & ~Q(item="")),
        nothing=Count("pk", filter=Q(right=False, item="")),
    )
    lines = _entry_lines(collection, since, marks)
    return Report(
        days=days,
        asked=answered + narrow + unanswered,
        answered=answered,
        narrow=narrow,
        unanswered=unanswered,
        right=said["rights"],
        wrong=said["wrongs"],
        nothing=said["nothing"],
        asked_by_day=[
            Series("Questions", [(at, _asked(row)) for at, row in span]),
            Series("Without a match", [(at, row.none if row else 0) for at, row in span], "bad"),
        ],
        answered_by_day=[Series("Answered", [(at, _share_answered(row)) for at, row in span])],
        most_asked=sorted(lines, key=lambda line: (-line.asked, line.entry.pk))[:SHOWN],
        worst_answered=sorted(
            (line for line in lines if line.wrong), key=lambda line: (-line.wrong, -line.share_wrong, line.entry.pk)
        )[:SHOWN],
        gaps=_gaps(collection),
    )


def _asked(row: QuestionDay | None) -> int:
    return row.answered + row.narrow + row.none if row else 0


def _share_answered(row: QuestionDay | None) -> float | None:
    asked = _asked(row)
    return (asked - row.none) / asked if row and asked else None


def _entry_lines(collection: Collection, since: datetime, marks: QuerySet[Mark]) -> list[EntryLine]:
    """The entries that came first most often, and those that were called wrong most often."""
    first = AskedQuestion.objects.filter(collection=collection, at__gte=since).exclude(outcome=Outcome.NONE).order_by()
    counted = first.values_list("best_id").annotate(asked=Count("pk"), narrow=Count("pk", filter=Q(outcome="narrow")))
    of_entries = marks.exclude(item="").order_by().values_list("item")
    judged = of_entries.annotate(rights=Count("pk", filter=Q(right=True)), wrongs=Count("pk", filter=Q(right=False)))
    most = {name: (asked, narrow) for name, asked, narrow in counted.order_by("-asked")[: 2 * SHOWN]}
    worst = {name: (right, wrong) for name, right, wrong in judged.order_by("-wrongs")[: 2 * SHOWN]}
    asked_of_worst = {name: figures for name, *figures in counted.filter(best_id__in=worst)}
    judged_of_most = {name: figures for name, *figures in judged.filter(item__in=most)}
    names = {*most, *worst}
    return [
        EntryLine(
            entry,
            *most.get(entry.external_id, asked_of_worst.get(entry.external_id, (0, 0))),
            *worst.get(entry.external_id, judged_of_most.get(entry.external_id, (0, 0))),
        )
        for entry in Entry.objects.filter(collection=collection, external_id__in=names)
    ]


def _gaps(collection: Collection) -> list[review.Item]:
    """What was asked most often and has no match, of what waits for review."""
    found = QuestionGroup.objects.filter(collection=collection, state=QuestionGroup.State.OPEN)
    often = list(found.order_by("-asked", "-last_at", "-pk").values_list("pk", flat=True)[:LOOKED_AT])
    mostly = (
        AskedQuestion.objects.filter(group__in=often, outcome=Outcome.NONE)
        .order_by()
        .values_list("group")
        .annotate(unmatched=Count("pk"))
        .order_by("-unmatched", "group")
    )
    ids = [pk for pk, _ in mostly[:SHOWN]]
    groups = QuestionGroup.objects.in_bulk(ids)
    return review.items_of(collection, [groups[pk] for pk in ids])

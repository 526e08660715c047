"""The queue of what people asked and did not get answered well, for editors to do something about.

Questions with no match, a narrow one, or one that somebody called wrong are put into groups of much the same words
(similar.py), a worker's work that a look at the queue brings up to date. What editors do with a group holds for who
asks the like later: a dismissed one stays away; an accepted one begins anew once a newer version still does not match
it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.db import connection, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from webapp.accounts.models import User
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.faq import asked, editing, marks
from webapp.faq.editing import Content, EditedMeanwhile
from webapp.faq.models import AskedQuestion, Collection, Entry, Mark, Phrasing, QuestionGroup
from webapp.faq.similar import Groups, Weights
from webapp.usage.services import LIVE_FOR

AT_ONCE = 300  # questions that are gathered in one transaction, on SQLite for about a second
OF_LATE = 3_000  # groups that a question may belong to
MEMBERS = 10_000  # questions of these that are compared, the latest
BACKGROUND = 3_000  # texts of the collection that tell which words are rare
ON_A_PAGE = 20  # groups
LIKELY = 0.5  # of probability on average: a suggestion from here on is chosen beforehand
WORDINGS = 8  # of a group that are shown
SUGGESTED = 3  # entries
MOST_ACCEPTED = 50  # phrasings at once
State = QuestionGroup.State
Outcome = AskedQuestion.Outcome


# Gathering ------------------------------------------------------------------------------------------------------------


def gather_all() -> None:
    """Has the questions of all collections sorted into groups. May run any number of times, also twice at once."""
    fresh = AskedQuestion.objects.filter(collection=OuterRef("pk"), for_review=True, group=None)
    unsettled = Mark.objects.filter(collection=OuterRef("pk"), settled=False)
    for collection in Collection.objects.filter(Exists(fresh) | Exists(unsettled)):
        while gather(collection) == AT_ONCE:
            pass


def gather(collection: Collection) -> int:
    """Puts the oldest questions that are in no group yet into one each; returns how many these were."""
    if not (_waiting(collection).exists() or _has_unsettled(collection)):
        return 0
    with transaction.atomic():
        # Whoever gathers at the same moment waits here, and then finds nothing left.
        Collection.objects.select_for_update(no_key=True).get(pk=collection.pk)
        marks.settle_rest(collection)
        fresh = list(_waiting(collection).order_by("pk")[:AT_ONCE])
        if fresh:
            _put_into_groups(collection, fresh)
    return len(fresh)


def _has_unsettled(collection: Collection) -> bool:
    return collection.marks.filter(settled=False).exists()


def _waiting(collection: Collection) -> QuerySet[AskedQuestion]:
    typed = Q(live=True, at__gt=timezone.now() - LIVE_FOR)  # may go on
    return AskedQuestion.objects.filter(collection=collection, for_review=True, group=None).exclude(typed)


def _put_into_groups(collection: Collection, fresh: Sequence[AskedQuestion]) -> None:
    weights = Weights(_background(collection))
    # What was accepted has not helped where another version has answered since.
    past = Q(state=State.ACCEPTED) & ~Q(version=fresh[-1].version)
    known = dict(enumerate(collection.question_groups.exclude(past).order_by("-last_at")[:OF_LATE]))
    place_of = {group.pk: place for place, group in known.items()}
    groups = Groups()
    by_digest: dict[str, int] = {}
    members = AskedQuestion.objects.filter(group__in=place_of).order_by("-pk")
    for group_id, digest, text in members.values_list("group", "digest", "text")[:MEMBERS]:
        by_digest.setdefault(digest, place_of[group_id])
        groups.add(place_of[group_id], weights.vector(text))
    joined: dict[int, list[AskedQuestion]] = defaultdict(list)
    for question in fresh:
        vector = weights.vector(question.text)
        place = by_digest.get(question.digest)
        if place is None:
            place = groups.nearest(vector)
        if place is None:
            place = len(known)
            known[place] = QuestionGroup(collection=collection, last_at=question.at)
        by_digest[question.digest] = place
        groups.add(place, vector)
        joined[place].append(question)
    for place, questions in joined.items():
        group = known[place]
        group.asked += len(questions)
        group.last_at = max(group.last_at, *(question.at for question in questions))
    QuestionGroup.objects.bulk_create(known[place] for place in joined if known[place].pk is None)
    for place in joined:
        if known[place].pk in place_of:
            group = known[place]  # unless it is deleted meanwhile
            QuestionGroup.objects.filter(pk=group.pk).update(asked=group.asked, last_at=group.last_at)
    with connection.cursor() as cursor:  # a statement for each row, far cheaper here than one for all with its cases
        table = connection.ops.quote_name(AskedQuestion._meta.db_table)
        pairs = [(known[place].pk, question.pk) for place, questions in joined.items() for question in questions]
        cursor.executemany(f"UPDATE {table} SET group_id = %s WHERE id = %s", pairs)  # noqa: S608  # our own name


def _background(collection: Collection) -> list[str]:
    """Texts in which the words of the collection are as frequent as they are."""
    entries = Entry.objects.filter(collection=collection).order_by("-pk")
    phrasings = Phrasing.objects.filter(entry__collection=collection).order_by("-pk")
    others = AskedQuestion.objects.filter(collection=collection).order_by("-pk").values_list("digest", "text")
    return [
        *entries.values_list("question", flat=True)[:BACKGROUND],
        *phrasings.values_list("text", flat=True)[:BACKGROUND],
        *dict(others[:BACKGROUND]).values(),  # each once: what everybody asks is no less telling for it
    ]


# Looking --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wording:
    """How people wrote it, and how often."""

    digest: str
    text: str
    asked: int


@dataclass(frozen=True)
class Suggestion:
    """An entry that may be what was meant. said_right: how often somebody called it that."""

    entry: Entry
    probability: float
    said_right: int


@dataclass(frozen=True)
class Item:
    """A group as editors see it. unmatched, narrow, wrong: how many of its questions; further: wordings not shown."""

    group: QuestionGroup
    wordings: Sequence[Wording]
    further: int
    unmatched: int
    narrow: int
    wrong: int
    suggestions: Sequence[Suggestion]
    entry: Entry | None  # that it was accepted for

    @property
    def text(self) -> str:
        return self.wordings[0].text if self.wordings else ""

    @property
    def chosen(self) -> str:
        """The id of the entry that is chosen beforehand, "" where nothing speaks for one."""
        best = next(iter(self.suggestions), None)
        likely = best and (best.said_right or (best.probability >= LIKELY and not self.wrong))
        return best.entry.external_id if best and likely else ""


@dataclass(frozen=True)
class Queue:
    """One page of it. state: which groups; counts: how many there are of each state."""

    items: Sequence[Item]
    state: str
    counts: Mapping[str, int]
    number: int
    has_next: bool


def queue(collection: Collection, *, state: str = State.OPEN, number: int = 1) -> Queue:
    """The groups asked most often first; those that are done with, the latest first. number: of the page, from 1."""
    found = QuestionGroup.objects.filter(collection=collection, state=state).select_related("closed_by")
    order = ["-asked", "-last_at", "-pk"] if state == State.OPEN else ["-closed_at", "-pk"]
    first = (number - 1) * ON_A_PAGE
    groups = list(found.order_by(*order)[first : first + ON_A_PAGE + 1])
    items = items_of(collection, groups[:ON_A_PAGE])
    return Queue(items, str(state), counts_of(collection), number, len(groups) > ON_A_PAGE)


def counts_of(collection: Collection) -> dict[str, int]:
    """How many groups there are of each state."""
    groups = QuestionGroup.objects.filter(collection=collection).order_by()
    return dict.fromkeys(State.values, 0) | dict(groups.values_list("state").annotate(Count("pk")))


def item_of(collection: Collection, pk: int) -> Item:
    """Raises NotFound."""
    return items_of(collection, [group_of(collection, pk)])[0]


def group_of(collection: Collection, pk: int) -> QuestionGroup:
    """Raises NotFound."""
    group = QuestionGroup.objects.filter(collection=collection, pk=pk).first()
    if group is None:
        raise NotFound("These questions are not there any more: they are too old, or whoever asked has deleted them.")
    return group


def items_of(collection: Collection, groups: Sequence[QuestionGroup]) -> list[Item]:
    questions = AskedQuestion.objects.filter(group__in=groups).order_by()
    wordings: dict[int, list[Wording]] = defaultdict(list)
    by_wording = questions.values_list("group", "digest").annotate(asked=Count("pk"), text=Min("text"))
    for group_id, digest, asked_times, text in by_wording.order_by("-asked", "digest"):
        wordings[group_id].append(Wording(digest, text, asked_times))
    numbers = {
        group_id: counts
        for group_id, *counts in questions.values_list("group").annotate(
            unmatched=Count("pk", filter=Q(outcome=Outcome.NONE)),
            narrow=Count("pk", filter=Q(outcome=Outcome.NARROW)),
            wrong=Count("pk", filter=Q(verdict=AskedQuestion.Verdict.WRONG)),
        )
    }
    suggestions = _suggestions(collection, groups)
    accepted_for = {group.entry_id for group in groups if group.entry_id}
    entries = {
        entry.external_id: entry for entry in Entry.objects.filter(collection=collection, external_id__in=accepted_for)
    }
    return [
        Item(
            group=group,
            wordings=wordings[group.pk][:WORDINGS],
            further=max(0, len(wordings[group.pk]) - WORDINGS),
            unmatched=unmatched,
            narrow=narrow,
            wrong=wrong,
            suggestions=suggestions.get(group.pk, []),
            entry=entries.get(group.entry_id),
        )
        for group in groups
        for unmatched, narrow, wrong in [numbers.get(group.pk, (0, 0, 0))]
    ]


def _suggestions(collection: Collection, groups: Sequence[QuestionGroup]) -> dict[int, list[Suggestion]]:
    """The entries that came nearest on average, those first that somebody called right."""
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    rights: dict[int, Counter[str]] = defaultdict(Counter)
    sizes: Counter[int] = Counter()
    members = AskedQuestion.objects.filter(group__in=groups).order_by("-pk")[:MEMBERS]
    for group_id, candidates, right_id in members.values_list("group", "candidates", "right_id"):
        sizes[group_id] += 1
        for name, probability in candidates:
            sums[group_id][name] += probability
        if right_id:
            rights[group_id][right_id] += 1
    names = {name for of_group in (*sums.values(), *rights.values()) for name in of_group}
    entries = {entry.external_id: entry for entry in Entry.objects.filter(collection=collection, external_id__in=names)}
    found: dict[int, list[Suggestion]] = {}
    for group_id, size in sizes.items():
        scored = [
            Suggestion(entries[name], sums[group_id][name] / size, rights[group_id][name])
            for name in {*sums[group_id], *rights[group_id]}
            if name in entries
        ]
        scored.sort(key=lambda each: (-each.said_right, -each.probability, each.entry.pk))
        found[group_id] = scored[:SUGGESTED]
    return found


# Deciding -------------------------------------------------------------------------------------------------------------


def accept(group: QuestionGroup, entry: Entry, digests: Iterable[str], *, by: User) -> int:
    """Makes these wordings of the group phrasings of the entry; returns how many it had not yet.

    Raises InvalidInput where none is named.
    """
    texts = _texts_of(group, digests)
    if not texts:
        raise InvalidInput("Tick at least one wording that is to become a phrasing.", field="wording")
    for last_try in (False, True):
        fresh = Entry.objects.filter(pk=entry.pk).prefetch_related("phrasings").first()
        if fresh is None:
            raise NotFound("There is no such entry. It may have been deleted: the history knows.")
        before = Content.of(fresh)
        known = {asked.digest_of(text) for text in (before.question, *before.phrasings, *before.test_phrasings)}
        new = tuple(text for text in texts if asked.digest_of(text) not in known)
        wanted = Content.checked(replace(before, phrasings=(*before.phrasings, *new)).as_json())
        try:
            with transaction.atomic():
                editing.change(fresh, wanted, by=by, version=fresh.version)
                _close(group, State.ACCEPTED, by, entry_id=fresh.external_id, phrasings=len(new))
        except EditedMeanwhile:  # between the two lines above
            if last_try:
                raise
        else:
            break
    return len(new)


def accept_as_new(group: QuestionGroup, content: Content, *, by: User) -> Entry:
    """Makes an entry of it, with what the editor wrote. Raises InvalidInput."""
    with transaction.atomic():
        entry = editing.create(group.collection, content, by=by)
        _close(group, State.ACCEPTED, by, entry_id=entry.external_id, phrasings=len(content.phrasings))
    return entry


def dismiss(group: QuestionGroup, *, by: User) -> None:
    _close(group, State.DISMISSED, by)


def reopen(group: QuestionGroup) -> None:
    """Puts the group back into the queue. Phrasings that it gave stay: the entry's history can take them back."""
    QuestionGroup.objects.filter(pk=group.pk).update(
        state=State.OPEN, entry_id="", phrasings=0, version="", closed_at=None, closed_by=None
    )


def drafted(group: QuestionGroup) -> Content:
    """A new entry as it may begin: the most frequent wording as its question, the others as phrasings."""
    wordings = _wordings(group)
    question, *others = [text for _, text in wordings[:MOST_ACCEPTED]] or [""]
    return Content(question=question, answer="", phrasings=tuple(others), state=Entry.State.DRAFT)


def _wordings(group: QuestionGroup) -> list[tuple[str, str]]:
    """Digest and text of each, the most frequent first."""
    questions = AskedQuestion.objects.filter(group=group).order_by()
    found = questions.values_list("digest").annotate(asked=Count("pk"), text=Min("text"), last=Max("pk"))
    return [(digest, text) for digest, _, text, _ in found.order_by("-asked", "-last")]


def _texts_of(group: QuestionGroup, digests: Iterable[str]) -> list[str]:
    wanted = set(digests)
    return [text for digest, text in _wordings(group) if digest in wanted][:MOST_ACCEPTED]


def _close(group: QuestionGroup, state: State, by: User, *, entry_id: str = "", phrasings: int = 0) -> None:
    last = AskedQuestion.objects.filter(group=group).order_by("-pk").values_list("version", flat=True).first()
    closed = QuestionGroup.objects.filter(pk=group.pk, state=State.OPEN).update(
        state=state,
        entry_id=entry_id,
        phrasings=phrasings,
        version=last or "",
        closed_at=timezone.now(),
        closed_by=by,
    )
    if not closed:
        raise Conflict("Somebody has dealt with these questions meanwhile. Look at the queue again.")

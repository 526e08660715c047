"""Which collections somebody may ask, and what their pages show of them.

A collection that somebody may not see is to them as if there were none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Value

from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.faq.models import Collection, Entry, Import, Phrasing, Revision
from webapp.faq.tags import HasTag
from webapp.paging import Page, page_of
from webapp.registry.models import Version
from webapp.registry.queries import without_champion

EXAMPLES = 4
ON_A_PAGE = 50  # entries; each is a field of the form for many of them
MOST_WORDS = 8  # of a search


def visible_to(person: User | None) -> QuerySet[Collection]:
    """The collections that the person may ask, the default one first. None: a visitor who has not signed in.

    A service account may what the person may who is responsible for it.
    """
    found = Collection.objects.order_by("-is_default", "pk")
    if person is None:
        return found.filter(visibility=Collection.Visibility.PUBLIC)
    person = person.responsible or person
    if person.may_enter_admin and person.has_perm("faq.view_collection"):
        return found
    memberships = Collection.groups.through.objects.filter(group__user=person)
    among_them = Q(visibility=Collection.Visibility.GROUPS, pk__in=memberships.values("collection"))
    return found.filter(~Q(visibility=Collection.Visibility.GROUPS) | among_them | _edits(person))


def hidden_models(person: User) -> set[str]:
    """The names of the models of collections that the person may not ask."""
    seen = visible_to(person)
    hidden = Collection.objects.exclude(pk__in=seen.order_by().values("pk"))
    return set(hidden.values_list("model_name", flat=True)) - set(seen.values_list("model_name", flat=True))


def edited_by(person: User) -> QuerySet[Collection]:
    """The collections whose entries the person may change: as one of their editors, or all of them by right.

    A service account may what the person may who is responsible for it.
    """
    person = person.responsible or person
    found = Collection.objects.order_by("-is_default", "pk")
    if person.may_enter_admin and person.has_perm("faq.change_entry"):
        return found
    return found.filter(_edits(person))


def _edits(person: User) -> Q:
    return Q(pk__in=Collection.editors.through.objects.filter(user=person).values("collection"))


def chosen(collections: Iterable[Collection], slug: str) -> Collection:
    """The one of that name, or the first where it is empty. Raises NotFound."""
    for collection in collections:
        if not slug or collection.slug == slug:
            return collection
    raise NotFound(f"There is no collection {slug!r}." if slug else "There is no FAQ collection on this site yet.")


def collection_called(slug: str | None, person: User | None) -> Collection:
    """The collection of that name, or the default one, of those that the person may ask. Raises NotFound."""
    seen = visible_to(person)
    return chosen(seen.filter(slug=slug)[:1] if slug else seen[:1], slug or "")


def described(collections: QuerySet[Collection]) -> QuerySet[Collection]:
    """The collections, each with `entry_count` (live ones) and `has_model`: whether a version of its model serves."""
    serving = Version.objects.filter(model__name=OuterRef("model_name"), role=Version.Role.CHAMPION)
    live = Count("entries", filter=Q(entries__state=Entry.State.LIVE))
    return collections.annotate(entry_count=live, has_model=Exists(serving))


def lacks_model(collection: Collection) -> bool:
    """Whether its model is registered, and no version of it serves: then nothing can answer yet."""
    return bool(without_champion([collection.model_name]))


def example_questions(collection: Collection) -> list[str]:
    """A few questions as people ask them, spread evenly over the collection; the same ones each time.

    Short phrasings that were held out of training, so that the model has not seen them word for word.
    """
    candidates = Phrasing.objects.filter(
        entry__collection=collection, entry__state=Entry.State.LIVE, held_out=True
    ).order_by("entry_id", "pk")
    short = [text for text in candidates.values_list("text", flat=True) if 20 <= len(text) <= 60 and "\n" not in text]
    found = [text for text in short if text.endswith("?")] or short
    return found[:: max(1, len(found) // EXAMPLES)][:EXAMPLES]


# For editors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """Which entries an editor looks for: those with all words of `q` in them, a state, a tag. Empty: any."""

    q: str = ""
    state: str = ""
    tag: str = ""


def entries_of(collection: Collection, wanted: Wanted) -> QuerySet[Entry]:
    found = Entry.objects.filter(collection=collection)
    for word in wanted.q.replace("\0", "").split()[:MOST_WORDS]:
        asked = Phrasing.objects.filter(entry=OuterRef("pk"), text__icontains=word)
        here = Q(question__icontains=word) | Q(answer__icontains=word) | Q(external_id__icontains=word)
        found = found.filter(here | Exists(asked))
    if wanted.state:
        found = found.filter(state=wanted.state)
    if wanted.tag:
        found = found.filter(HasTag(F("tags"), Value(wanted.tag)))
    return found


def page_of_entries(
    collection: Collection,
    wanted: Wanted,
    *,
    drafts: bool = True,
    cursor: str | None = None,
    limit: int = ON_A_PAGE,
) -> Page[Entry]:
    """Those last changed first, each with its phrasings. drafts: whether they are among them.

    Raises InvalidInput for a cursor that was not made here.
    """
    found = entries_of(collection, wanted).prefetch_related("phrasings")
    if not drafts:
        found = found.filter(state=Entry.State.LIVE)
    return page_of(found, cursor=cursor, limit=limit, by=("changed_at", "pk"))


def entry_of(collection: Collection, pk: int) -> Entry:
    """Raises NotFound."""
    found = Entry.objects.filter(collection=collection, pk=pk).prefetch_related("phrasings").first()
    if found is None:
        raise NotFound("There is no such entry. It may have been deleted: the history knows.")
    return found


def history_of(
    collection: Collection, *, external_id: str = "", act: Import | None = None, cursor: str | None = None
) -> Page[Revision]:
    """What happened to the entries, to one of them, or by one import, newest first. Among all, an import stands as one:
    by the first version that it made. Raises InvalidInput for a foreign cursor.
    """
    found = Revision.objects.filter(collection=collection)
    if external_id:
        found = found.filter(external_id=external_id)
    if act:
        found = found.filter(act=act.pk)
    elif not external_id:
        firsts = Import.objects.filter(collection=collection).exclude(first_revision=None).values("first_revision")
        found = found.filter(Q(act=None) | Q(pk__in=firsts))
    return page_of(found, cursor=cursor, limit=ON_A_PAGE, by=("at", "pk"))


def imports_behind(revisions: Iterable[Revision]) -> dict[int, Import]:
    """The imports that made these versions, by what the versions call them."""
    return Import.objects.in_bulk({revision.act for revision in revisions if revision.act})


def imports_of(collection: Collection, *, cursor: str | None = None) -> Page[Import]:
    """The imports into the collection, newest first. Raises InvalidInput for a foreign cursor."""
    return page_of(Import.objects.filter(collection=collection), cursor=cursor)


def import_of(collection: Collection, pk: int) -> Import:
    """Raises NotFound."""
    found = Import.objects.filter(collection=collection, pk=pk).first()
    if found is None:
        raise NotFound("There is no such import. What is not confirmed within a day is discarded.")
    return found


def revision_of(collection: Collection, pk: int) -> Revision:
    """Raises NotFound."""
    found = Revision.objects.filter(collection=collection, pk=pk).first()
    if found is None:
        raise NotFound("There is no such version in the history of this collection.")
    return found


def revision_behind(entry: Entry) -> Revision | None:
    """What the history says of the entry's present version: who made it, and when."""
    return Revision.objects.filter(
        collection_id=entry.collection_id, external_id=entry.external_id, version=entry.version
    ).first()


def before(revision: Revision) -> Revision | None:
    """The version of the same entry before it."""
    earlier = Revision.objects.filter(
        collection_id=revision.collection_id, external_id=revision.external_id, version__lt=revision.version
    )
    return earlier.order_by("-version").first()

"""Which collections somebody may ask, and what their pages show of them.

A collection that somebody may not see is to them as if there were none.
"""

from collections.abc import Iterable

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.faq.models import Collection, Phrasing
from webapp.registry.models import Version
from webapp.registry.queries import without_champion

EXAMPLES = 4


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
    return found.filter(~Q(visibility=Collection.Visibility.GROUPS) | among_them)


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
    """The collections, each with `entry_count` and `has_model`: whether a version of its model serves."""
    serving = Version.objects.filter(model__name=OuterRef("model_name"), role=Version.Role.CHAMPION)
    return collections.annotate(entry_count=Count("entries"), has_model=Exists(serving))


def lacks_model(collection: Collection) -> bool:
    """Whether its model is registered, and no version of it serves: then nothing can answer yet."""
    return bool(without_champion([collection.model_name]))


def example_questions(collection: Collection) -> list[str]:
    """A few questions as people ask them, spread evenly over the collection; the same ones each time.

    Short phrasings that were held out of training, so that the model has not seen them word for word.
    """
    candidates = Phrasing.objects.filter(entry__collection=collection, held_out=True).order_by("entry_id", "pk")
    short = [text for text in candidates.values_list("text", flat=True) if 20 <= len(text) <= 60 and "\n" not in text]
    found = [text for text in short if text.endswith("?")] or short
    return found[:: max(1, len(found) // EXAMPLES)][:EXAMPLES]

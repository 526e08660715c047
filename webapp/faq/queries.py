from webapp.errors import NotFound
from webapp.faq.models import Collection, Phrasing

EXAMPLES = 4


def default_collection() -> Collection | None:
    """The collection searched when nobody names one; None before the first is loaded."""
    return Collection.objects.order_by("-is_default", "pk").first()


def collection_called(slug: str | None) -> Collection:
    """The collection of that name, or the default one. Raises NotFound."""
    found = Collection.objects.filter(slug=slug).first() if slug else default_collection()
    if found is None:
        raise NotFound(f"There is no collection {slug!r}." if slug else "There is no FAQ collection on this site yet.")
    return found


def example_questions(collection: Collection) -> list[str]:
    """A few questions as people ask them, spread evenly over the collection; the same ones each time.

    Short phrasings that were held out of training, so that the model has not seen them word for word.
    """
    candidates = Phrasing.objects.filter(entry__collection=collection, held_out=True).order_by("entry_id", "pk")
    short = [text for text in candidates.values_list("text", flat=True) if 20 <= len(text) <= 60 and "\n" not in text]
    found = [text for text in short if text.endswith("?")] or short
    return found[:: max(1, len(found) // EXAMPLES)][:EXAMPLES]

"""FAQ entries of a collection as JSON Lines, as importing.py reads them and `train-faq` trains on them."""

from collections.abc import Iterator

import msgspec

from webapp.faq.editing import Content
from webapp.faq.importing import EntryLine
from webapp.faq.models import Collection, Entry

PORTION = 500  # entries read at once


def live_entries(collection: Collection) -> Iterator[bytes]:
    """A line for each live entry, in the order of their ids; drafts are nobody's answer."""
    found = Entry.objects.filter(collection=collection, state=Entry.State.LIVE).order_by("external_id")
    for entry in found.prefetch_related("phrasings").iterator(chunk_size=PORTION):
        content = Content.of(entry)
        line = EntryLine(
            id=entry.external_id,
            answer_id=entry.answer_id,
            question=content.question,
            answer=content.answer,
            tags=list(content.tags),
            phrasings=list(content.phrasings),
            test_phrasings=list(content.test_phrasings),
        )
        yield msgspec.json.encode(line) + b"\n"

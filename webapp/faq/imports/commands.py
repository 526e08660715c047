"""Imports from the command line: the same look-over as on the site, and the same single act."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from webapp.errors import AppError, Conflict
from webapp.faq.imports import files, services
from webapp.faq.imports.checking import compared
from webapp.faq.imports.reading import Line
from webapp.faq.models import Collection, Entry, Import

TOLD_REFUSALS = 20


def add_arguments(parser: CommandParser) -> None:
    """What all imports can be told."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("--good-only", action="store_true", help="leave refused lines out; without it, all or nothing")
    parser.add_argument("--drafts", action="store_true", help="make new entries drafts, which only editors see")


def collection_called(slug: str) -> Collection:
    """Raises CommandError, which names those that there are."""
    found = Collection.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(Collection.objects.values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no collection {slug}. There are: {known}. An admin adds one in the admin.")
    return found


def run(
    collection: Collection,
    lines: Iterable[Line],
    *,
    name: str,
    form: str,
    say: Callable[[str], Any],
    dry_run: bool,
    good_only: bool,
    drafts: bool,
    **_options: object,
) -> None:
    """Looks the lines over and imports them as one act. name: of what they come from; form: its format.

    Raises CommandError where nothing was imported though something was to be.
    """
    which = Import(collection=collection, name=name[:200], reading={"format": form}, state=Import.State.READY)
    which.new_state = (Entry.State.DRAFT if drafts else Entry.State.LIVE).value
    which.mode = (Import.Mode.GOOD if good_only else Import.Mode.ALL).value
    which.save()
    kept = False
    try:
        counts = _look_over(which, lines)
        say(", ".join(f"{count:,} {outcome}" for outcome, count in counts.items()) + ".")
        for line in files.some_lines(which, "refused", 0, TOLD_REFUSALS):
            say(f"  {line.why}")
        if counts["refused"] > TOLD_REFUSALS:
            say(f"  and {counts['refused'] - TOLD_REFUSALS:,} more.")
        if dry_run:
            return
        if counts["refused"] and not good_only:
            raise CommandError("Nothing was imported. Mend what is refused, or leave it out with --good-only.")
        if not which.writes:
            say("There is nothing to import.")
            return
        services.write(which, by=None, hold=lambda **changes: _hold(which, changes))
        kept = True
        say(f"Imported {which.writes:,} entries.")
    except AppError as error:
        raise CommandError(error.detail) from error
    finally:
        if not kept:
            Import.objects.filter(pk=which.pk).exclude(state=Import.State.DONE).delete()
            files.delete(which)


def _look_over(which: Import, lines: Iterable[Line]) -> dict[str, int]:
    which.checked = uuid.uuid4()
    with files.disk_errors(), files.Writer(which, which.checked) as writer:
        for line in compared(which.collection, lines, new_state=which.new_state):
            writer.add(line)
    counts = writer.counts
    for outcome, count in counts.items():
        setattr(which, outcome, count)
    which.save()
    return counts


def _hold(which: Import, changes: dict[str, object]) -> None:
    if not Import.objects.filter(pk=which.pk).update(created_at=timezone.now(), **changes):
        raise Conflict("Somebody has discarded it on the site meanwhile, so nothing was imported.")

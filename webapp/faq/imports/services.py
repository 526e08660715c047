"""An import's way: upload, check, somebody's word, import. Checks and imports are a worker's work.

Any worker may be killed at any moment. A check begins anew; an import is one transaction, so it is done or nothing of
it is. Who works on one holds a token: a worker that was thought dead and comes back writes nothing.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from webapp import queues
from webapp.accounts.models import User
from webapp.celery import stopping
from webapp.errors import AppError, Conflict, FilesError, InvalidInput
from webapp.faq import editing
from webapp.faq.imports import files, reading
from webapp.faq.imports.checking import compared
from webapp.faq.imports.files import Staged
from webapp.faq.imports.reading import Line, Reading
from webapp.faq.models import Collection, Entry, Import, Revision
from webapp.tables.texts import shown

log = structlog.get_logger(__name__)
State = Import.State

PORTION = 500  # entries in one statement
SILENT_AFTER = 60.0  # seconds; then the worker has died
SENT_AGAIN_AFTER = timedelta(seconds=20)  # what nobody has begun by then is sent anew
MOST_ATTEMPTS = 3  # that ended with their worker
KEPT = timedelta(days=7)  # the lines of an import that is done, or failed
CONFIRMED_WITHIN = timedelta(days=1)
MOST_OPEN = 20  # imports of one collection that are neither done nor failed

KILLS = "{} workers ended while they tried, and nothing was imported. The file may be damaged in a way we do not know."
BROKE = "An error of ours, which is logged, ended it, and nothing was imported. Tell the people who run this site."
AGAIN = "{} So nothing was imported, and the file was looked over again. Confirm what it would change now."


class _NotOurs(Exception):
    """Another worker has the import, or somebody has discarded it."""


class _Leaving(Exception):
    """This worker is to end."""


# What people do -------------------------------------------------------------------------------------------------------


def create(collection: Collection, pieces: Iterable[bytes], *, name: str, by: User) -> Import:
    """Stores the upload and has it looked over. Raises InvalidInput, TooLarge, Conflict, FilesError."""
    waiting = Import.objects.filter(collection=collection).exclude(state__in=[State.DONE, State.FAILED])
    if waiting.count() >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} imports wait already. Confirm or discard one of them first.")
    made = Import(collection=collection, name=shown(name)[:200], actor=by.email, actor_id=by.pk)
    made.size = files.store(made, pieces)
    try:
        found = reading.detect(files.upload_of(made), name)
        made.reading = found.kept()
        made.save()
    except BaseException:
        files.delete(made)
        raise
    _send(made)
    return made


def read_again(which: Import, how: Reading, *, new_state: str) -> None:
    """Has the file looked over anew, read in that way. Raises Conflict when it is being imported."""
    _look_over_again(which, reading=how.kept(), new_state=new_state, reason="")


def start(which: Import, mode: Import.Mode, *, by: User) -> None:
    """Has it imported as it was looked over. Raises Conflict where it is not ready, or there is nothing to import."""
    if not which.writes:
        raise Conflict("There is nothing in it to import.")
    if mode == Import.Mode.ALL and which.refused:
        raise Conflict(
            "Some lines are refused, so all of it cannot be imported. Import the good rows only, or mend the file and "
            "upload it again."
        )
    started = Import.objects.filter(pk=which.pk, state=State.READY, checked=which.checked).update(
        state=State.IMPORTING,
        mode=mode,
        actor=by.email,
        actor_id=by.pk,
        reason="",
        token=None,
        heartbeat_at=None,
        attempts=0,
    )
    if not started:
        raise Conflict("It was looked over anew, started or discarded meanwhile. Look at it again.")
    files.note_progress(which, 0)
    _send(which)


def discard(which: Import) -> None:
    """Removes an import that has written nothing. Raises Conflict for one that has, or is about to."""
    gone, _ = Import.objects.filter(pk=which.pk).exclude(state__in=[State.IMPORTING, State.DONE]).delete()
    if not gone:
        raise Conflict("It is being imported, or is already. The history can bring back what entries said before.")
    files.delete(which)


def _look_over_again(which: Import, **changes: Any) -> None:
    sent = Import.objects.filter(pk=which.pk, state__in=[State.CHECKING, State.READY, State.FAILED]).update(
        state=State.CHECKING, token=None, heartbeat_at=None, attempts=0, ended_at=None, **changes
    )
    if not sent:
        raise Conflict("It is being imported, or is already.")
    _send(which)


def _send(which: Import) -> None:
    queues.send("faq.work_on_import", which.pk)


# What workers do ------------------------------------------------------------------------------------------------------


def send_unattended() -> None:
    """Sends what lies idle to a worker: its message was lost, or its worker is silent."""
    for which in Import.objects.filter(state__in=Import.OPEN):
        waits_since = which.heartbeat_at or which.created_at
        if timezone.now() - waits_since > SENT_AGAIN_AFTER and not _is_alive(which):
            _send(which)


def forget() -> None:
    """Removes what nobody has confirmed, and the lines of what was done some time ago. Raises OSError."""
    now = timezone.now()
    for which in Import.objects.filter(
        state__in=[State.READY, State.FAILED], first_revision=None, created_at__lt=now - CONFIRMED_WITHIN
    ):
        discard(which)
    for which in Import.objects.filter(state=State.DONE, ended_at__lt=now - KEPT):
        files.delete(which)
    known = Import.objects.filter(Q(ended_at=None) | Q(ended_at__gte=now - KEPT)).values_list("folder", flat=True)
    files.tidy(known, older=CONFIRMED_WITHIN.total_seconds())


def _is_alive(which: Import) -> bool:
    """Whether somebody works on it who was heard of lately."""
    if which.heartbeat_at is None:
        return False
    return max(which.heartbeat_at.timestamp(), files.heard_of(which)) > time.time() - SILENT_AFTER


def work_on(pk: int) -> bool:
    """Looks over or imports, whichever is next; False when another worker has it, or there is nothing to do."""
    which = Import.objects.select_related("collection").filter(pk=pk, state__in=Import.OPEN).first()
    if which is None or _is_alive(which):
        return False
    token = uuid.uuid4()
    # Only one of two workers that look at the same time.
    taken = Import.objects.filter(pk=pk, state=which.state, heartbeat_at=which.heartbeat_at, token=which.token)
    if not taken.update(token=token, heartbeat_at=timezone.now(), attempts=F("attempts") + 1):
        return False
    which.refresh_from_db()
    _Work(which, token).run()
    return True


class _Work:
    def __init__(self, which: Import, token: uuid.UUID) -> None:
        self.which, self.token = which, token

    def run(self) -> None:
        try:
            if self.which.attempts > MOST_ATTEMPTS:
                self._fail(KILLS.format(MOST_ATTEMPTS))
            elif self.which.state == State.CHECKING:
                self._check()
            else:
                self._import()
        except _NotOurs:
            log.info("faq_import_left_to_another", which=self.which.pk)
        except _Leaving:
            self._held().update(heartbeat_at=None, attempts=F("attempts") - 1)
            _send(self.which)
        except (InvalidInput, FilesError) as error:
            self._fail(error.detail)
        except AppError as error:  # what was looked at is not as it was
            again = AGAIN.format(error.detail)
            self._held().update(state=State.CHECKING, token=None, heartbeat_at=None, attempts=0, reason=again)
            _send(self.which)
        except Exception:
            log.exception("faq_import_broke", which=self.which.pk)
            self._fail(BROKE)

    def _check(self) -> None:
        how = Reading.of(self.which.reading)
        check = uuid.uuid4()
        if "question" not in how.chosen and "id" not in how.chosen:
            counts = self._nothing_chosen(check)
        else:
            with files.disk_errors(), files.Writer(self.which, check) as writer:
                found = reading.lines(files.upload_of(self.which), how)
                self._stage(writer, found, settings.FAQ_IMPORT_LINES)
            counts = writer.counts
        if not self._held().update(
            state=State.READY, checked=check, token=None, heartbeat_at=None, attempts=0, **counts
        ):
            raise _NotOurs
        files.keep_only(self.which, check)
        log.info("faq_import_checked", which=self.which.pk, **counts)

    def _nothing_chosen(self, check: uuid.UUID) -> dict[str, int]:
        """Nobody has said yet which column holds the questions, so there is no line."""
        with files.disk_errors(), files.Writer(self.which, check) as writer:
            return writer.counts

    def _stage(self, writer: files.Writer, lines: Iterable[Line], most: int) -> None:
        for number, line in enumerate(compared(self.which.collection, lines, new_state=self.which.new_state), start=1):
            if number > most:
                raise InvalidInput(
                    f"The file has more than {most:,} lines, the most of one import. Send it as several.", field="file"
                )
            writer.add(line)
            if number % PORTION == 0:
                self._go_on(number)
                if not self._held().exists():
                    raise _NotOurs

    def _import(self) -> None:
        by = User.objects.filter(pk=self.which.actor_id or 0).first()
        write(self.which, by=by, hold=self._finish, go_on=self._go_on)
        log.info("faq_import_done", which=self.which.pk, **self.which.counts)

    def _finish(self, **changes: object) -> None:
        if not self._held().update(token=None, heartbeat_at=None, **changes):
            raise _NotOurs

    def _go_on(self, done: int) -> None:
        if stopping():
            raise _Leaving
        files.note_progress(self.which, done)

    def _fail(self, reason: str) -> None:
        self._held().update(state=State.FAILED, reason=reason, ended_at=timezone.now(), token=None, heartbeat_at=None)

    def _held(self) -> QuerySet[Import]:
        return Import.objects.filter(pk=self.which.pk, token=self.token, state=self.which.state)


# Writing --------------------------------------------------------------------------------------------------------------


def write(
    which: Import, *, by: User | None, hold: Callable[..., None], go_on: Callable[[int], None] = lambda _done: None
) -> None:
    """Writes what the check has found, all of it in one transaction, and notes that it is done.

    hold: called in it with what changes in the import's own row; raises where that is not ours. go_on: told how many
    entries are written. Raises Conflict when an entry is not as the check saw it; FilesError.
    """
    done = 0
    try:
        with transaction.atomic():
            for some in files.portions(files.lines_of(which), PORTION):
                done += _write_some(which, some, by)
                go_on(done)
            first = Revision.objects.filter(act=which.pk).order_by("at", "pk").values_list("pk", flat=True).first()
            hold(state=State.DONE, ended_at=timezone.now(), first_revision=first)
    except IntegrityError as error:  # an entry with the same id was made at the same moment
        raise Conflict("Somebody has made one of the entries meanwhile.") from error


def _write_some(which: Import, lines: Iterable[Staged], by: User | None) -> int:
    """Writes some lines; how many entries they made or changed."""
    found = [line for line in lines if line.outcome != "refused"]
    new = {line.id: (line.wanted, line.answer_id) for line in found if line.outcome == "new"}
    changed = {line.id: (line.wanted, line.answer_id, line.version) for line in found if line.outcome == "changed"}
    same = {line.id: line.version for line in found if line.outcome == "unchanged"}
    editing.write_imported(which.collection, new, changed, by=by, act=which.pk)
    if same:
        there = Entry.objects.filter(collection=which.collection, external_id__in=same)
        editing.require_versions(same, there.only("external_id", "version"))
    return len(new) + len(changed)

"""What people and programs do with batch jobs: upload, start, cancel, try again, delete.

Nothing is scored here: each of these changes rows of the database and leaves the work to workers (tasks.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from webapp.accounts import plans
from webapp.accounts.models import User
from webapp.batch import detection, endings, files, queries, reading, retries, uploads, validation
from webapp.batch.files import StoredUpload
from webapp.batch.models import Job
from webapp.errors import Conflict, InvalidInput, NotFound, ScoringUnavailable
from webapp.faq.queries import collection_called
from webapp.images.queries import image_model
from webapp.keys.models import Scope
from webapp.keys.principal import Principal, principal_of_key
from webapp.registry.models import ScoringModel
from webapp.registry.pins import require_pinnable

log = structlog.get_logger(__name__)
State = Job.State

MOST_TOP_K = 20
LONGEST_NAME = 200  # characters
MOST_METADATA, LONGEST_METADATA_NAME, LONGEST_METADATA_TEXT = 16, 64, 512  # entries, characters, characters


@dataclass(frozen=True)
class Options:
    """What is to be done with an upload.

    kind: "faq" or "image", None for what the upload is. collection: its slug, "" for the default one. model: of
    pictures, "" for the one offered first. version: "" for whichever serves. column: of the questions, "" where the
    format has none or there is no doubt.
    """

    kind: str | None = None
    collection: str = ""
    model: str = ""
    version: str = ""
    top_k: int = 5
    column: str = ""


def create(
    who: Principal,
    *,
    upload: StoredUpload,
    options: Options,
    name: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Takes the upload and starts. The upload is the job's afterwards, or as it was when this raises.

    Raises what `planned` and `take` raise.
    """
    return take(planned(who, upload=upload, options=options, name=name, metadata=metadata), upload)


def planned(
    who: Principal,
    *,
    upload: StoredUpload,
    options: Options,
    name: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """The job that `take` will start; nothing is kept yet.

    It reads the upload and may ask the pods, which takes its time: never call it in a transaction. Raises InvalidInput
    naming the field, also for what cannot be read, NotAllowed, or Conflict when the person has too much.
    """
    job = _looked_over(who, upload, name, metadata)
    _apply(job, options)
    _require_room(job, opening=True)
    return job


def take(job: Job, upload: StoredUpload) -> Job:
    """Starts what was planned. The upload is its own afterwards. Raises Conflict when others were quicker to take the
    last room, FilesError.
    """
    job.state, job.started_at = State.VALIDATING, timezone.now()
    job.expires_at = job.started_at + timedelta(hours=settings.BATCH_COMPLETE_WITHIN_H)
    with transaction.atomic():
        _keep(job, upload)
        transaction.on_commit(validation.send)
    log.info("batch_started", batch=str(job.pk), kind=job.kind, model=job.model, bytes=job.size)
    return job


def clear_up(job: Job) -> None:
    """Removes the files of a job that was taken in a transaction which has come to nothing."""
    if not Job.objects.filter(pk=job.pk).exists():
        files.delete(job)


def create_draft(
    who: Principal, *, upload: StoredUpload, name: str = "", metadata: Mapping[str, str] | None = None
) -> Job:
    """A job that waits to be told what to do. The upload is its own afterwards.

    name: for people, by default the file's. metadata: the caller's own short texts. Raises InvalidInput for what cannot
    be read, Conflict when the person has too much, FilesError.
    """
    job = _looked_over(who, upload, name, metadata)
    with transaction.atomic():
        _keep(job, upload)
    return job


def _looked_over(who: Principal, upload: StoredUpload, name: str, metadata: Mapping[str, str] | None) -> Job:
    """A draft of the upload, which is not kept yet. Raises InvalidInput."""
    found = detection.detect(upload.path, upload.name)
    return Job(
        owner=who.user,
        key=who.key,
        kind=found.kind,
        name=(name.strip() or upload.name)[:LONGEST_NAME],
        metadata=_checked_metadata(metadata or {}),
        format=found.format,
        size=upload.size,
        reading=found.kept(),
    )


def _keep(job: Job, upload: StoredUpload) -> None:
    """Writes the job and takes the upload, in the caller's transaction. Raises Conflict, FilesError."""
    _lock(job.owner)
    _require_room(job, opening=job.is_open)
    job.save(force_insert=True)
    files.adopt(job, upload)


def read_again(
    job: Job,
    *,
    format: str | None = None,  # noqa: A002  # as the field is called
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> Job:
    """Reads the draft's file in another way. What is None stays as it was; of another format it is found out anew.

    format: "csv", "txt" or "jsonl". delimiter: "" where a line is one cell. Raises InvalidInput for a file that cannot
    be read like that, and Conflict when it has been started.
    """
    now = reading.reading_of(job)
    wanted = format or now.format
    same = wanted == now.format and now.format in {"csv", "tsv", "xlsx"}
    with files.disk_errors():
        found = detection.detect(
            files.upload_of_job(job),
            f"upload.{wanted}",
            encoding=encoding or now.encoding or None,
            delimiter=now.delimiter if delimiter is None and same else delimiter,
            header=now.header if header is None and same and delimiter is None else header,
        )
    drafts = Job.objects.filter(pk=job.pk, state=State.DRAFT)
    if not drafts.update(format=found.format, reading=found.kept()):
        raise Conflict("This batch has been started already.")
    job.format, job.reading = found.format, found.kept()
    return job


def start(job: Job, *, options: Options, name: str = "") -> Job:
    """Has the draft validated and scored. name: for people, "" for the one it has.

    Raises InvalidInput naming the field, NotAllowed, or Conflict, also when it was read in another way meanwhile.
    """
    _apply(job, options)
    job.name = name.strip()[:LONGEST_NAME] or job.name
    now = timezone.now()
    with transaction.atomic():
        _lock(job.owner)
        _require_room(job, opening=True)
        drafts = Job.objects.filter(pk=job.pk, state=State.DRAFT)
        now_read = drafts.select_for_update().values_list("reading", flat=True).first()
        if now_read not in (None, job.reading):
            raise Conflict("This file has been read in another way meanwhile. Look over its rows, then start.")
        started = drafts.update(
            state=State.VALIDATING,
            kind=job.kind,
            name=job.name,
            collection=job.collection,
            model=job.model,
            version=job.version,
            top_k=job.top_k,
            column=job.column,
            started_at=now,
            expires_at=now + timedelta(hours=settings.BATCH_COMPLETE_WITHIN_H),
        )
        if not started:
            raise Conflict("This batch has been started already.")
        transaction.on_commit(validation.send)
    log.info("batch_started", batch=str(job.pk), kind=job.kind, model=job.model, bytes=job.size)
    job.refresh_from_db()
    return job


def cancel(job: Job) -> Job:
    """Scores no more of it; what is scored stays. Raises Conflict when it is over, but not when it was cancelled."""
    now = timezone.now()
    running = Job.objects.filter(pk=job.pk, state=State.IN_PROGRESS)
    validating = Job.objects.filter(pk=job.pk, state=State.VALIDATING)
    # Either may turn into the next while we look: from the earlier to the later, so that none is missed.
    if validating.update(state=State.CANCELLING, cancelling_at=now) or running.update(
        state=State.CANCELLING, cancelling_at=now
    ):
        endings.finish_cancelling_of(job.pk)
    job.refresh_from_db()
    if job.state not in {State.CANCELLING, State.CANCELLED}:
        raise Conflict(
            "This batch has not been started. Delete it."
            if job.state == State.DRAFT
            else "This batch has all its rows already and is being completed."
            if job.state == State.FINALIZING
            else "This batch has ended already."
        )
    return job


def retry_failed(job: Job, who: Principal) -> Job:
    """A new job of the rows that have no answer: those that failed, and those that were never scored.

    Each keeps its id, or has its number as its id. Rows that were refused when the file was read stay away: they would
    be again. Raises Conflict while the job is open, when its files are gone, when no row is left to try, or when the
    version that it asks for is no longer loaded; NotAllowed for a key that may ask for none.
    """
    if not job.has_ended:
        raise Conflict("This batch has not ended yet. Cancel it, or wait for its end, and try again.")
    if job.deleted_at:
        raise Conflict("The files of this batch have been deleted. Upload it again.")
    if job.total and job.completed == job.total:
        raise Conflict("Every row of this batch has its answer.")
    if not job.total:
        raise Conflict(
            "This batch has no rows that could be tried again. Mend the file and upload it."
            if job.state == State.FAILED
            else "No row of this batch was read, so none can be tried again. Upload the file again."
        )
    if job.version:
        _require_still_pinnable(job, who)
    now = timezone.now()
    again = Job(
        owner=job.owner,
        key=who.key if who.user == job.owner else None,  # a key counts in the months of its own owner alone
        kind=job.kind,
        name=job.name,
        metadata=job.metadata,
        retry_of=job,
        format=job.format,
        size=job.size,
        column=job.column,
        reading=retries.marked(job.reading),
        collection=job.collection,
        model=job.model,
        version=job.version,
        top_k=job.top_k,
        state=State.VALIDATING,
        started_at=now,
        expires_at=now + timedelta(hours=settings.BATCH_COMPLETE_WITHIN_H),
    )
    with transaction.atomic():
        _lock(job.owner)
        _require_room(again, opening=True)
        again.save(force_insert=True)
        files.lend_upload(again, job)
        transaction.on_commit(validation.send)
    log.info("batch_started", batch=str(again.pk), kind=again.kind, model=again.model, retry_of=str(job.pk))
    return again


def delete(job: Job) -> None:
    """Deletes the job with all that is known of it. Raises Conflict while it is open."""
    if not endings.remove(job.pk, was=[State.DRAFT, *Job.ENDED]):
        raise Conflict("This batch is still at work. Cancel it first.")
    # Should this end half way, files.tidy finds a folder without a job.
    files.delete(job)
    log.info("batch_deleted", batch=str(job.pk))


# What is checked ------------------------------------------------------------------------------------------------------


def _apply(job: Job, options: Options) -> None:
    """Puts the options into the job. Raises InvalidInput or NotAllowed."""
    if options.kind and options.kind != job.kind:
        what = {Job.Kind.FAQ: "questions", Job.Kind.IMAGE: "pictures"}
        raise InvalidInput(f"What was uploaded are {what[Job.Kind(job.kind)]}.", field="kind")
    if not 1 <= options.top_k <= MOST_TOP_K:
        raise InvalidInput(f"Ask for 1 to {MOST_TOP_K} answers.", field="top_k")
    if job.kind == Job.Kind.FAQ:
        try:
            collection = collection_called(options.collection or None, _principal_of(job).user)
        except NotFound as error:
            raise InvalidInput(error.detail, field="collection") from error
        job.collection, job.model = collection.slug, collection.model_name
    else:
        job.collection, job.model = "", _image_model(options.model)
    job.column = reading.column_of(reading.reading_of(job), options.column)
    if options.version:
        require_pinnable(job.model, options.version, _principal_of(job))
    job.version, job.top_k = options.version, options.top_k


def _require_still_pinnable(job: Job, who: Principal) -> None:
    try:
        require_pinnable(job.model, job.version, who)
    except InvalidInput as error:
        raise Conflict(
            f"Version {job.version} of {job.model}, which this batch asks for, is not loaded any more. Upload the file "
            "again for another one."
        ) from error


def _image_model(name: str) -> str:
    """The name of the model; where no pod answers, of one that has served before. Raises InvalidInput."""
    try:
        return image_model(name or None).name
    except NotFound as error:
        raise InvalidInput(error.detail, field="model") from error
    except ScoringUnavailable:
        known = ScoringModel.objects.filter(kind=ScoringModel.Kind.IMAGE, versions__role="champion")
        found = (known.filter(name=name) if name else known).order_by("name").first()
        if found is None:
            raise
        return found.name


def _principal_of(job: Job) -> Principal:
    return principal_of_key(job.key) if job.key else Principal(job.owner, None, frozenset(Scope.values))


def _checked_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    if len(metadata) > MOST_METADATA:
        raise InvalidInput(f"At most {MOST_METADATA} entries.", field="metadata")
    for name, text in metadata.items():
        if not 0 < len(name) <= LONGEST_METADATA_NAME or not isinstance(text, str) or len(text) > LONGEST_METADATA_TEXT:
            raise InvalidInput(
                f"Each entry is a name of 1 to {LONGEST_METADATA_NAME} characters with a text of at most "
                f"{LONGEST_METADATA_TEXT}.",
                field="metadata",
            )
    return dict(metadata)


def _lock(user: User) -> None:
    """Two uploads at the same moment must not both find the last room: the second waits here for the first."""
    User.objects.select_for_update().values_list("pk").get(pk=user.pk)


def require_room(user: User, size: int) -> None:
    """Raises Conflict before anything is read of an upload that nobody could keep, also when it would only fit without
    those that are on their way; FilesError. size: bytes that are announced.
    """
    room = queries.room_of(user)
    taken = room.stored + uploads.bytes_arriving_from(user)
    if room.is_full or taken + size > room.most_stored + settings.MIB:
        raise Conflict(
            f"Your batches, and what you are uploading, have {taken / 1e9:.1f} GB of the "
            f"{room.most_stored / 1e9:.1f} GB that they may. Delete some that you no longer need, and send this again."
        )


def _require_room(job: Job, *, opening: bool) -> None:
    """Raises Conflict when the job is more than its owner may have."""
    allowed = plans.limits_of(job.owner)
    others = Job.objects.filter(owner=job.owner, deleted_at=None).exclude(pk=job.pk)
    if opening and others.filter(state__in=Job.OPEN).count() >= allowed.open_jobs:
        raise Conflict(
            f"You have {allowed.open_jobs} batches at work, as many as you may at once. Wait for one to end, or cancel "
            "one."
        )
    stored = others.aggregate(bytes=Sum("size", default=0))["bytes"]
    if stored + job.size > allowed.stored_bytes:
        raise Conflict(
            f"With this upload your batches would hold {(stored + job.size) / 1e9:.1f} GB, and "
            f"{allowed.stored_bytes / 1e9:.1f} GB is the most. Delete some that you no longer need."
        )

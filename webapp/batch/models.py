"""Jobs over many inputs, and the chunks that they are worked on in.

The rows themselves lie in files (files.py): as they came, as chunks, as results. These tables say how far it all is.
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from webapp.keys.models import ApiKey
from webapp.usage.models import ScoringRecord


class Job(models.Model):
    """One upload of questions or pictures, scored row by row. What is uploaded and not yet started is a draft.

    `draft → validating → in_progress → finalizing → completed`; `failed` when nothing of it can be scored, with the
    reason; `expired` when it took too long; `cancelling → cancelled` when its owner has had enough. A job that ends in
    any way keeps the results of all its chunks that were done.
    """

    class Kind(models.TextChoices):
        FAQ = ScoringRecord.Kind.FAQ.value, "Questions"
        IMAGE = ScoringRecord.Kind.IMAGE.value, "Pictures"

    class State(models.TextChoices):
        DRAFT = "draft", "Draft"  # only on the page, between upload and start
        VALIDATING = "validating", "Validating"
        IN_PROGRESS = "in_progress", "In progress"
        FINALIZING = "finalizing", "Finalizing"
        COMPLETED = "completed", "Completed"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"
        CANCELLING = "cancelling", "Cancelling"
        CANCELLED = "cancelled", "Cancelled"

    OPEN = (State.VALIDATING, State.IN_PROGRESS, State.FINALIZING, State.CANCELLING)
    ENDED = (State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="batches")
    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="+")  # None: by the page
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=200)  # for people: by default the file's name
    metadata = models.JSONField(default=dict, blank=True)  # the caller's own: short texts by name
    retry_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="retries")

    # What to read
    format = models.CharField(max_length=10)  # csv, tsv, jsonl, xlsx, txt, zip
    size = models.PositiveBigIntegerField(default=0)  # bytes of the upload
    column = models.CharField(max_length=200, blank=True)  # of the questions; empty where the format has none
    reading = models.JSONField(default=dict, blank=True)  # how the file is read: {"encoding", "delimiter", "header", …}

    # What to do
    collection = models.CharField(max_length=60, blank=True)  # slug; of questions only
    model = models.CharField(max_length=128)
    version = models.CharField(max_length=128, blank=True)  # empty: whichever serves
    top_k = models.PositiveSmallIntegerField(default=5)

    # How far it is. The three counts are of rows.
    state = models.CharField(max_length=12, choices=State, default=State.DRAFT)
    reason = models.TextField(blank=True)  # why it failed or expired, for its owner
    problem = models.TextField(blank=True)  # why it does not move right now, for its owner: no pods, say
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    reserved = models.PositiveIntegerField(default=0)  # rows of the month's quota that it holds until it ends
    task_token = models.UUIDField(null=True, blank=True)  # of the worker that validates
    heartbeat_at = models.DateTimeField(null=True, blank=True)  # of that worker
    attempts = models.PositiveSmallIntegerField(default=0)  # to validate it
    claimed_at = models.DateTimeField(null=True, blank=True)  # when a chunk was last begun: jobs take turns

    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)  # no draft any more
    in_progress_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    cancelling_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)  # what is not scored by then is left out
    kept_until = models.DateTimeField(null=True, blank=True)  # then upload and results are deleted
    notice_sent_at = models.DateTimeField(null=True, blank=True)  # that they will be
    deleted_at = models.DateTimeField(null=True, blank=True)  # when they were

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(total__gte=F("completed") + F("failed")), name="batch_counts_no_more_than_its_rows"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["completed", "failed", "expired", "cancelled"], ended_at__isnull=False)
                | Q(state__in=["draft", "validating", "in_progress", "finalizing", "cancelling"], ended_at=None),
                name="batch_ended_when_it_says_so",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # queries.jobs_of: the newest first after a cursor
            models.Index(fields=["owner", "-created_at", "-id"], name="batches_of_owner"),
            # what is still to be worked on, and whose turn it is
            models.Index(fields=["state", "claimed_at"], name="batches_by_turn"),
            # what is to be deleted
            models.Index(fields=["kept_until"], condition=Q(deleted_at=None), name="batches_to_delete"),
        ]

    def __str__(self) -> str:
        return str(self.pk)  # never the name: this text may end up in logs

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def has_ended(self) -> bool:
        return self.state in self.ENDED

    @property
    def done(self) -> int:
        """Rows that have their result or error."""
        return self.completed + self.failed


class Chunk(models.Model):
    """Some hundred rows of a job in a row, scored by one worker at a time.

    Whoever holds `token` may commit it, once: one that lost it meanwhile, and comes late, changes nothing.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    job = models.ForeignKey(Job, models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()  # from 0
    first_row = models.PositiveIntegerField()  # from 0
    rows = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    token = models.UUIDField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)  # after an attempt that found no pods
    attempts = models.PositiveIntegerField(default=0)
    faults = models.PositiveIntegerField(default=0)  # of those: that a pod answered with an error
    result = models.CharField(max_length=80, blank=True)  # the file of its results
    completed = models.PositiveIntegerField(default=0)  # rows
    failed = models.PositiveIntegerField(default=0)  # rows
    confidences = models.JSONField(default=list, blank=True)  # best probabilities: rows in each twentieth from 0 to 1
    answered = models.JSONField(default=dict, blank=True)  # rows by the version that answered them
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "number"], name="one_chunk_per_number"),
            models.CheckConstraint(
                condition=~Q(state="done") | (Q(rows=F("completed") + F("failed")) & ~Q(result="")),
                name="done_chunk_has_all_its_rows",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # the next chunk of a job, and those whose worker is silent
            models.Index(fields=["job", "state", "number"], name="chunks_to_do"),
            # how fast a job moves: those done of late
            models.Index(fields=["job", "done_at"], name="chunks_done_of_late"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.number}"

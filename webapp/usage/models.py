"""What was scored: one row a question or picture for its owner, and figures without persons for each version."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

LONGEST_ITEM = 300  # a file name of 255 characters, and its number where several pictures have it


class ScoringRecord(models.Model):
    """One scored input of one person. Only they may see `subject` and `answer`."""

    class Kind(models.TextChoices):
        FAQ = "faq", "FAQ"
        IMAGE = "image", "Image"

    class Source(models.TextChoices):
        PAGE = "page", "Page"
        API = "api", "API"

    OK = "ok"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="scoring_records")
    key = models.ForeignKey("keys.ApiKey", models.SET_NULL, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    source = models.CharField(max_length=10, choices=Source)
    subject = models.TextField()  # the question, or the file's name
    answer = models.JSONField(default=list)  # best first: {"id", "question" or "label", "probability"}
    model = models.CharField(max_length=128, blank=True)
    version = models.CharField(max_length=128, blank=True)
    outcome = models.CharField(max_length=60, default=OK)  # "ok", or the slug of the problem
    duration_ms = models.FloatField()
    request_id = models.CharField(max_length=200, blank=True)
    live = models.BooleanField(default=False)  # asked while typing: the next key press may still replace it
    pinned = models.BooleanField(default=False)  # the caller named the version
    created_at = models.DateTimeField(default=timezone.now)  # when it was asked

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(duration_ms__gte=0), name="scoring_took_no_negative_time"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # history_of(user, kind=None): ORDER BY created_at DESC, id DESC after a cursor
            models.Index(fields=["user", "-created_at", "-id"], name="usage_history"),
            # history_of(user, kind): the same within a kind; and the latest live row of a person in services.record
            models.Index(fields=["user", "kind", "-created_at", "-id"], name="usage_history_of_kind"),
            # feedback.answer_to: what a request of this person was answered with
            models.Index(fields=["user", "request_id"], name="usage_by_request"),
        ]

    def __str__(self) -> str:
        # Never the subject: this text is shown in the admin and may end up in logs.
        return f"{self.get_kind_display()} {self.pk}, {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def ok(self) -> bool:
        return self.outcome == self.OK


class Traffic(models.Model):
    """How one version did within one second or, later, one minute. Rows are added and merged, never changed.

    Each process of the site adds its own, so that what a version did in a while is always the sum of several rows.
    """

    SECOND, MINUTE = 1, 60

    at = models.DateTimeField()  # the beginning of the second or minute in which the answers came
    seconds = models.PositiveSmallIntegerField(default=SECOND)
    model = models.CharField(max_length=128)
    version = models.CharField(max_length=128, blank=True)  # empty: no pod answered, or none said for which version
    pinned = models.BooleanField(default=False)  # the callers named the version
    requests = models.PositiveIntegerField()
    errors = models.PositiveIntegerField(default=0)
    latency = models.JSONField(default=dict)  # {bucket: requests}; traffic.py says how wide a bucket is
    confidence_sum = models.FloatField(default=0.0)  # of the highest probability in each answer
    confidence_count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "traffic"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(errors__lte=models.F("requests"), confidence_count__lte=models.F("requests")),
                name="traffic_is_no_more_than_its_requests",
            ),
            models.CheckConstraint(condition=models.Q(seconds__in=[1, 60]), name="traffic_of_a_second_or_minute"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # traffic.totals and traffic.series of one model: a range of time
            models.Index(fields=["model", "at"], name="traffic_of_model"),
            # traffic.series of all models, and what is too old to keep
            models.Index(fields=["at"], name="traffic_by_time"),
            # what traffic.prune_and_merge has still to merge
            models.Index(fields=["at"], condition=models.Q(seconds=1), name="traffic_to_merge"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version}, {self.at:%Y-%m-%d %H:%M:%S}"


class Use(models.Model):
    """What one caller asked of one version on one day (UTC), for themselves and for those who look after the site.

    Rows are added by each process once a second, and merged. It outlives account and key, without them.
    """

    class Source(models.TextChoices):
        PAGE = ScoringRecord.Source.PAGE.value, "Page"
        API = ScoringRecord.Source.API.value, "API"
        BATCH = "batch", "Batch"

    day = models.DateField()
    # Without a constraint: one row of somebody who has just deleted the account must not refuse the others' rows.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_constraint=False
    )
    key = models.ForeignKey("keys.ApiKey", models.SET_NULL, null=True, related_name="+", db_constraint=False)
    source = models.CharField(max_length=10, choices=Source)
    model = models.CharField(max_length=128)
    version = models.CharField(max_length=128, blank=True)  # empty: none has answered
    requests = models.PositiveBigIntegerField(default=0)
    rows = models.PositiveBigIntegerField(default=0)  # questions and pictures; a request may have several
    errors = models.PositiveBigIntegerField(default=0)  # rows without an answer, whoever was to blame
    latency = models.JSONField(default=dict)  # {bucket: rows} (latencies.py); of batches none is counted
    merged = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "use"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(errors__lte=models.F("rows")), name="use_fails_no_more_than_rows")
        ]
        indexes: ClassVar[list[models.Index]] = [
            # ledger.report of one person
            models.Index(fields=["user", "day"], name="use_of_person"),
            # ledger.report of all, and what is too old to keep
            models.Index(fields=["day"], name="use_by_day"),
            # what ledger.merge has still to merge
            models.Index(fields=["id"], condition=models.Q(merged=False), name="use_to_merge"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version}, {self.day}"


class Feedback(models.Model):
    """What a person said about one answer: right or wrong. They may change their mind; the last word counts.

    It outlives the history and the account, without the person: it tells how good a version is.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="feedback")
    request_id = models.CharField(max_length=200)
    item = models.CharField(max_length=LONGEST_ITEM)  # the FAQ entry's id, or which picture of the request
    kind = models.CharField(max_length=10, choices=ScoringRecord.Kind)
    model = models.CharField(max_length=128)
    version = models.CharField(max_length=128)
    right = models.BooleanField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "feedback"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "request_id", "item"], name="one_verdict_per_person_and_answer"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # traffic.totals: the verdicts on one version since a moment
            models.Index(fields=["model", "version", "at"], name="feedback_on_version"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.version}: {'right' if self.right else 'wrong'}"

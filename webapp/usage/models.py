"""What was scored, for whom and by which version: one row a question or picture."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


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
        ]

    def __str__(self) -> str:
        # Never the subject: this text is shown in the admin and may end up in logs.
        return f"{self.get_kind_display()} {self.pk}, {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def ok(self) -> bool:
        return self.outcome == self.OK

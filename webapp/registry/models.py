"""What serves, what could, and how it came to be so.

A model's versions move through `Version.State`; which of them answer is their `Version.Role`. The store's routing file
is written from these rows (publishing.py), never read back. Every change appends an `Event`, which the database itself
refuses to alter (migration 0002).
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

MOST_CANARY = 50  # percent

store_name = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z",
    "Letters, digits, dot, dash and underscore only, beginning with a letter or digit, at most 128.",
)


class ScoringModel(models.Model):
    """Something callers ask by name. Its versions come and go; the name, the kind and the pool stay."""

    class Kind(models.TextChoices):
        FAQ = "faq", "FAQ matcher"
        IMAGE = "image", "Image classifier"
        TENSORS = "tensors", "Generic tensors"

    class Pool(models.TextChoices):
        CPU = "cpu", "CPU pods"
        GPU = "gpu", "GPU pods"

    name = models.CharField(max_length=128, unique=True, validators=[store_name])
    kind = models.CharField(max_length=10, choices=Kind)
    pool = models.CharField("scoring pool", max_length=3, choices=Pool)
    title = models.CharField(max_length=200, blank=True, help_text="The name for people.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # When a new version counts as worse than the champion, so that promoting it needs a written reason.
    quality_tolerance = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Percentage points that accuracy and the like may be lower than the champion's.",
    )
    latency_tolerance = models.FloatField(
        default=50.0,
        validators=[MinValueValidator(0), MaxValueValidator(1000)],
        help_text="Percent that the 95th percentile of the latency may be longer than the champion's.",
    )
    # When a canary is ended by itself.
    error_factor = models.FloatField(
        default=2.0,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="A canary ends by itself when its error rate exceeds the champion's by this factor.",
    )
    latency_factor = models.FloatField(
        default=2.0,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="A canary ends by itself when its 95th percentile of latency exceeds the champion's by this factor.",
    )
    least_requests = models.PositiveIntegerField(
        default=100,
        validators=[MinValueValidator(10)],
        help_text="With fewer requests of the canary or the champion nothing is concluded from their figures.",
    )
    # The inputs with known answers that lie in the model's folder of the store (evaluation_sets.py).
    evaluation_file = models.CharField(max_length=40, blank=True, editable=False)
    evaluation_digest = models.CharField(max_length=64, blank=True, editable=False)  # SHA-256
    evaluation_count = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = "model"
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~Q(name=""), name="model_has_a_name"),
            models.CheckConstraint(
                condition=Q(quality_tolerance__gte=0, latency_tolerance__gte=0, error_factor__gte=1)
                & Q(latency_factor__gte=1),
                name="model_tolerances_make_sense",
            ),
        ]
        permissions = [
            ("operate_scoringmodel", "Can check, promote, try out, roll back and retire versions"),
            ("register_version", "Can register versions and evaluation sets"),
            ("delete_artifact", "Can delete the artifact of a retired version"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        return self.title or self.name


class Version(models.Model):
    """One artifact of a model in the store, immutable; what changes is its state and its role."""

    class State(models.TextChoices):
        REGISTERED = "registered", "Registered"
        CHECKING = "checking", "Checking"
        READY = "ready", "Ready"  # passed its check: may be promoted
        SERVING = "serving", "Serving"
        RETIRED = "retired", "Retired"
        FAILED = "failed", "Failed"

    class Role(models.TextChoices):
        NONE = "", "None"
        CHAMPION = "champion", "Champion"
        CANARY = "canary", "Canary"  # answers `percent` of the requests that name no version
        SHADOW = "shadow", "Shadow"  # scores `percent` of them again, unseen by the caller
        STANDBY = "standby", "Standby"  # the champion before; stays loaded for a rollback

    model = models.ForeignKey(ScoringModel, models.PROTECT, related_name="versions")
    name = models.CharField(max_length=128, validators=[store_name])  # its folder in the store: "1", "2", …
    state = models.CharField(max_length=10, choices=State, default=State.REGISTERED)
    role = models.CharField(max_length=8, choices=Role, default=Role.NONE, blank=True)
    percent = models.PositiveSmallIntegerField(default=0)
    role_since = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)  # why it failed
    ready_at = models.DateTimeField(null=True, blank=True)  # when it last passed its check

    manifest = models.JSONField(default=dict)  # as in the store: files with SHA-256, libraries, metrics, …
    size = models.PositiveBigIntegerField(default=0)  # bytes
    signature = models.JSONField(default=dict, blank=True)  # {"inputs": […], "outputs": […]}, as a pod told
    labels = models.JSONField(default=list, blank=True)  # of an image classifier, in the order of its outputs
    metrics = models.JSONField(default=dict, blank=True)  # of its last check, by name
    notes = models.TextField(blank=True)
    registered_at = models.DateTimeField(default=timezone.now, editable=False)
    registered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    artifact_deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["model", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["model", "name"], name="one_version_per_name"),
            models.UniqueConstraint(fields=["model", "role"], condition=~Q(role=""), name="one_version_per_role"),
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="percent_from_0_to_100"),
            models.CheckConstraint(
                condition=Q(role="canary", percent__gte=1, percent__lte=MOST_CANARY)
                | Q(role="shadow", percent__gte=1)
                | (~Q(role__in=["canary", "shadow"]) & Q(percent=0)),
                name="percent_fits_the_role",
            ),
            models.CheckConstraint(
                condition=Q(role__in=["champion", "canary"], state="serving")
                | (~Q(role__in=["champion", "canary"]) & ~Q(state="serving")),
                name="serving_is_champion_or_canary",
            ),
            models.CheckConstraint(condition=Q(role="") | Q(state__in=["ready", "serving"]), name="role_needs_ready"),
            models.CheckConstraint(
                condition=~Q(state__in=["ready", "serving"]) | Q(ready_at__isnull=False),
                name="ready_has_passed_a_check",
            ),
            models.CheckConstraint(
                condition=Q(artifact_deleted_at=None) | Q(state="retired"), name="only_retired_artifacts_are_deleted"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.name}"


class Check(models.Model):
    """One run of the gate over a version, with what it found. Written by a worker while it runs."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    version = models.ForeignKey(Version, models.PROTECT, related_name="checks")
    champion = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")  # compared with
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    started_by = models.CharField(max_length=254, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    # The worker that runs it says so every few seconds; when it is silent, another one starts over under a new token.
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    token = models.UUIDField(default=uuid.uuid4)
    progress = models.FloatField(default=0.0)  # 0 to 1
    steps = models.JSONField(default=list)  # [{"name", "title", "state": waiting|running|passed|failed|skipped, …}]
    report = models.JSONField(default=dict)  # what the gate found out, as in reports.py

    class Meta:
        ordering: ClassVar[list[str]] = ["-started_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["version"], condition=Q(state="running"), name="one_running_check_per_version"
            ),
            models.CheckConstraint(condition=Q(progress__gte=0, progress__lte=1), name="progress_from_0_to_1"),
            models.CheckConstraint(
                condition=Q(finished_at=None) | Q(finished_at__gte=F("started_at")), name="check_ends_after_its_start"
            ),
        ]

    def __str__(self) -> str:
        return f"check of {self.version}, {self.started_at:%Y-%m-%d %H:%M}"


class Rollout(models.Model):
    """The way of one version into service: loaded and warm on every ready pod first, then switched on all of them."""

    class Kind(models.TextChoices):
        PROMOTION = "promotion", "Promotion"
        ROLLBACK = "rollback", "Rollback"

    class State(models.TextChoices):
        LOADING = "loading", "Loading"  # the champion serves on while pods load the version
        SWITCHING = "switching", "Switching"  # the version is champion; not all ready pods answer with it yet
        DONE = "done", "Done"
        FAILED = "failed", "Failed"  # a pod could not load it; the champion stayed
        CANCELLED = "cancelled", "Cancelled"  # by a person, or by a later rollout

    model = models.ForeignKey(ScoringModel, models.PROTECT, related_name="rollouts")
    version = models.ForeignKey(Version, models.PROTECT, related_name="rollouts")
    replaces = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=10, choices=State)
    started_by = models.CharField(max_length=254, blank=True)
    actor_id = models.BigIntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)  # of the person who asked for it
    problem = models.TextField(blank=True)  # why it failed, or what it waits for
    started_at = models.DateTimeField(default=timezone.now)
    switched_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    driven_until = models.DateTimeField(null=True, blank=True)  # a worker looks after it until then

    class Meta:
        ordering: ClassVar[list[str]] = ["-started_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["model"], condition=Q(state__in=["loading", "switching"]), name="one_rollout_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.version}"


class ShadowComparison(models.Model):
    """One request scored again by the shadow: what both put first. The input itself is not kept."""

    model = models.ForeignKey(ScoringModel, models.PROTECT, related_name="shadow_comparisons")
    champion = models.CharField(max_length=128)  # version that answered the caller
    shadow = models.CharField(max_length=128)
    at = models.DateTimeField(default=timezone.now)
    agrees = models.BooleanField(null=True)  # whether both put the same answer first; None: the shadow failed
    champion_probability = models.FloatField(null=True)
    shadow_probability = models.FloatField(null=True)
    champion_ms = models.FloatField(null=True)
    shadow_ms = models.FloatField(null=True)
    failure = models.CharField(max_length=60, blank=True)  # slug of the problem

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            # trials.shadow_report: the comparisons of one shadow since it began, oldest first
            models.Index(fields=["model", "shadow", "at"], name="shadow_comparisons_of"),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.champion} and {self.shadow}, {self.at:%Y-%m-%d %H:%M:%S}"


class Pulse(models.Model):
    """When a background job last ran: how the site knows that workers are there."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()
    detail = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.at:%H:%M:%S}"


class Event(models.Model):
    """One thing that happened to a model. The database lets nobody alter or delete it.

    Who did it is kept as plain values, so that a deleted account changes nothing here.
    """

    class Kind(models.TextChoices):
        ADOPTED = "adopted", "Found in the store"
        REGISTERED = "registered", "Registered"
        CHECK_STARTED = "check_started", "Check started"
        CHECK_PASSED = "check_passed", "Check passed"
        CHECK_FAILED = "check_failed", "Check failed"
        PROMOTION_STARTED = "promotion_started", "Promotion started"
        PROMOTION_FAILED = "promotion_failed", "Promotion failed"
        PROMOTION_CANCELLED = "promotion_cancelled", "Promotion cancelled"
        PROMOTED = "promoted", "Promoted"
        ROLLED_BACK = "rolled_back", "Rolled back"
        REPLACED = "replaced", "Replaced"
        CONVERGED = "converged", "All pods switched"
        CANARY_STARTED = "canary_started", "Canary started"
        CANARY_CHANGED = "canary_changed", "Canary changed"
        CANARY_ENDED = "canary_ended", "Canary ended"
        CANARY_ABORTED = "canary_aborted", "Canary ended by itself"
        SHADOW_STARTED = "shadow_started", "Shadow started"
        SHADOW_CHANGED = "shadow_changed", "Shadow changed"
        SHADOW_ENDED = "shadow_ended", "Shadow ended"
        RETIRED = "retired", "Retired"
        ARTIFACT_DELETED = "artifact_deleted", "Artifact deleted"
        EVALUATION_SET = "evaluation_set", "Evaluation set changed"
        SETTINGS = "settings", "Settings changed"

    model = models.ForeignKey(ScoringModel, models.PROTECT, related_name="events")
    version = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="events")
    kind = models.CharField(max_length=24, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    # E-mail address, or who ran a command; empty: the system itself.
    actor = models.CharField(max_length=254, blank=True)
    actor_id = models.BigIntegerField(null=True, blank=True)
    from_state = models.CharField(max_length=10, blank=True)  # of the version
    to_state = models.CharField(max_length=10, blank=True)
    reason = models.TextField(blank=True)
    metrics = models.JSONField(default=dict, blank=True)  # of the version at that time
    details = models.JSONField(default=dict, blank=True)  # what else belongs to it
    # What answers from then on: {"champion": "7" or null, "canary": {"version": "8", "percent": 10} or null,
    # "shadow": the same, "standby": "6" or null}
    serving = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            # queries.served_at and the history: the events of a model up to a moment, newest first
            models.Index(fields=["model", "-at", "-id"], name="events_of_model_newest_first"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.at:%Y-%m-%d %H:%M:%S}"

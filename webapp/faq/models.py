"""Collections of answered questions: what the FAQ models are trained on, and what a match shows."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import get_language_info

from webapp.registry.models import Rollout, Version, store_name

language_tag = RegexValidator(
    r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z", "Write the language as a tag, such as en, de or pt-BR."
)

EXACT = 0.99  # from which probability on an entry has the question word for word: no other reaches it


class Collection(models.Model):
    """Entries that belong together and are matched by one model of the pods, which is theirs alone."""

    class Visibility(models.TextChoices):
        SIGNED_IN = "signed-in", "Everybody who is signed in"
        GROUPS = "groups", "Some groups of people"
        PUBLIC = "public", "Everybody, also without signing in"

    slug = models.SlugField(max_length=60, unique=True, help_text="The end of its address: /faq/slug/.")
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    language = models.CharField(
        max_length=35, default="en", validators=[language_tag], help_text="Of its entries, as a tag: en, de, pt-BR."
    )
    visibility = models.CharField(
        "who may ask",
        max_length=10,
        choices=Visibility,
        default=Visibility.SIGNED_IN,
        help_text="Others do not see it.",
    )
    groups = models.ManyToManyField(
        Group, blank=True, related_name="faq_collections", help_text="Who may ask, where that is some groups."
    )
    editors = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="edited_faqs",
        help_text="Who may change its entries on the site, beside those who may in the admin.",
    )
    model_name = models.CharField(
        "model",
        max_length=128,
        unique=True,
        validators=[store_name],
        help_text="The model of the scoring pods that matches it, and nothing else.",
    )
    # From which probability on an entry is a good match; None: as each version itself says.
    threshold = models.FloatField(null=True, blank=True, editable=False)
    keeps_questions = models.BooleanField(
        "keeps what is asked",
        default=True,
        help_text="For its editors to review. Off: nothing is kept, and what was kept is deleted within the hour.",
    )
    kept_days = models.PositiveSmallIntegerField(
        "days to keep it",
        default=90,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Then questions and what was said of the answers are deleted.",
    )
    source_digest = models.CharField(max_length=64, blank=True, editable=False)  # SHA-256 of what was last loaded
    is_default = models.BooleanField(default=False, help_text="Searched when a request names no collection.")

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_faq_collection"
            ),
            # An exact match has 0.99 at least, and is always a good one.
            models.CheckConstraint(
                condition=models.Q(threshold=None) | models.Q(threshold__gte=0, threshold__lte=0.98),
                name="faq_threshold_from_0_to_98_percent",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def language_name(self) -> str:
        """The language in English words; the tag itself for one that Django does not know."""
        try:
            return str(get_language_info(self.language.lower())["name"])
        except KeyError:
            return self.language


class Entry(models.Model):
    """One original question with its answer. The pods know it by `external_id`.

    Changes go through editing.py, which keeps each version in the history.
    """

    class State(models.TextChoices):
        DRAFT = "draft", "Draft"  # nobody but editors sees it, and no model is trained on it
        LIVE = "live", "Live"

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="entries")
    external_id = models.CharField("id", max_length=120)
    answer_id = models.CharField(max_length=120)
    question = models.TextField()
    answer = models.TextField(help_text="Markdown.")
    tags = models.JSONField(default=list, blank=True)  # a list of short strings
    state = models.CharField(max_length=5, choices=State, default=State.LIVE)
    version = models.PositiveIntegerField(default=1, editable=False)  # one more with each change
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["collection", "external_id"]
        verbose_name_plural = "entries"
        indexes: ClassVar[list[models.Index]] = [
            # The editors' list.
            models.Index(fields=["collection", "-changed_at", "-id"], name="faq_entries_newest_first"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # Also the index behind every answer: the scored ids of one collection, looked up at once.
            models.UniqueConstraint(fields=["collection", "external_id"], name="one_faq_entry_per_id"),
        ]

    def __str__(self) -> str:
        return self.question


class Phrasing(models.Model):
    """Another way people ask the same. A held-out one is kept from training, to measure the model with."""

    entry = models.ForeignKey(Entry, models.CASCADE, related_name="phrasings")
    text = models.TextField()
    held_out = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]

    def __str__(self) -> str:
        return self.text


class QuestionGroup(models.Model):
    """Questions that people asked in much the same words, for editors to do something about."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        ACCEPTED = "accepted", "Accepted"
        DISMISSED = "dismissed", "Dismissed"

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="question_groups")
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    asked = models.PositiveIntegerField(default=0)  # how many questions it has
    last_at = models.DateTimeField(default=timezone.now)  # when one was asked last
    entry_id = models.CharField(max_length=120, blank=True)  # external_id of the entry that it was accepted for
    phrasings = models.PositiveSmallIntegerField(default=0)  # that the entry got from it
    version = models.CharField(max_length=128, blank=True)  # which had answered when it was accepted
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            # review.queue: those asked most often first
            models.Index(fields=["collection", "state", "-asked", "-last_at", "-id"], name="faq_queue"),
            # review.gather: those asked of late
            models.Index(fields=["collection", "-last_at"], name="faq_groups_of_late"),
        ]

    def __str__(self) -> str:
        return f"Group {self.pk}"


class AskedQuestion(models.Model):
    """What somebody asked a collection, and how it was matched. No name stands beside it where editors see it."""

    class Outcome(models.TextChoices):
        ANSWERED = "answered", "Answered"
        NARROW = "narrow", "Matched narrowly"
        NONE = "none", "No match"

    class Verdict(models.TextChoices):
        NOTHING = "", "Nothing"
        RIGHT = "right", "Right"
        WRONG = "wrong", "Wrong"

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="asked_questions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    text = models.TextField()  # e-mail addresses and long numbers masked
    digest = models.CharField(max_length=32)  # the same for texts with the same words
    request_id = models.CharField(max_length=200, blank=True)
    typing = models.CharField(max_length=40, blank=True)  # the page's own name for who types; "": by API
    live = models.BooleanField(default=False)  # asked while typing: the next key press may still replace it
    at = models.DateTimeField(default=timezone.now)
    version = models.CharField(max_length=128, blank=True)
    candidates = models.JSONField(default=list)  # best first: [id of the entry, probability], three at most
    best_id = models.CharField(max_length=120, blank=True)  # of the entry that came first
    outcome = models.CharField(max_length=8, choices=Outcome)
    verdict = models.CharField(max_length=5, choices=Verdict, default=Verdict.NOTHING, blank=True)
    right_id = models.CharField(max_length=120, blank=True)  # of the entry that was called right
    for_review = models.BooleanField(default=False)
    group = models.ForeignKey(QuestionGroup, models.SET_NULL, null=True, blank=True, related_name="questions")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            # the report, and what is too old to keep
            models.Index(fields=["collection", "at"], name="faq_asked_by_time"),
            # review.gather: a question that was asked before
            models.Index(fields=["collection", "digest"], name="faq_asked_alike"),
            # marks.settle, and what a person deletes from the history
            models.Index(fields=["user", "request_id"], name="faq_asked_by_request"),
            models.Index(fields=["request_id"], condition=models.Q(user=None), name="faq_asked_by_visitor"),
            # asked.write: what goes on being typed
            models.Index(fields=["typing", "at"], name="faq_asked_typing"),
            # review.gather: what is in no group yet
            models.Index(
                fields=["collection", "id"], condition=models.Q(for_review=True, group=None), name="faq_asked_to_group"
            ),
        ]

    def __str__(self) -> str:
        # Never the text: this may end up in logs.
        return f"Question {self.pk}, {self.at:%Y-%m-%d %H:%M}"


class Mark(models.Model):
    """What somebody said of a match: right or wrong; or that none was right. One for each request and match."""

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="marks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")  # null: a visitor
    request_id = models.CharField(max_length=200)
    item = models.CharField(max_length=120, blank=True)  # external_id of the entry; "": none of them
    right = models.BooleanField()
    at = models.DateTimeField(default=timezone.now)
    settled = models.BooleanField(default=False)  # the question knows of it

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "request_id", "item"], name="one_faq_mark_per_person_and_match"),
            models.UniqueConstraint(
                fields=["request_id", "item"], condition=models.Q(user=None), name="one_faq_mark_per_visit_and_match"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["collection", "at"], name="faq_marks_by_time"),
            models.Index(fields=["collection", "id"], condition=models.Q(settled=False), name="faq_marks_to_settle"),
        ]

    def __str__(self) -> str:
        return f"{self.item or 'None of them'}: {'right' if self.right else 'wrong'}"


class QuestionDay(models.Model):
    """How many questions a collection was asked on one day (UTC), and with what outcome. Outlives the questions."""

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="question_days")
    day = models.DateField()
    answered = models.PositiveIntegerField(default=0)
    narrow = models.PositiveIntegerField(default=0)
    none = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["collection", "day"], name="one_row_per_faq_and_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day}"


class Learned(models.Model):
    """What accepted phrasings brought to the version that was the first to be trained with them (learning.py)."""

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="learned")
    version = models.CharField(max_length=128)
    trained_at = models.DateTimeField()  # what was accepted until then, it knows
    at = models.DateTimeField(default=timezone.now)
    phrasings = models.PositiveIntegerField()  # that were accepted for it
    questions = models.PositiveIntegerField()  # others, asked like them
    before = models.PositiveIntegerField()  # of these, answered rightly when they were asked
    after = models.PositiveIntegerField()  # answered rightly by this version

    class Meta:
        ordering: ClassVar[list[str]] = ["-trained_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["collection", "version"], name="one_faq_learned_per_version"),
        ]

    def __str__(self) -> str:
        return f"{self.collection_id}, version {self.version}"


class Revision(models.Model):
    """What an entry said after a change; after its deletion, what it said last. The database lets nobody alter it.

    Its collection, entry and person are kept as plain values, so that it outlives each of them.
    """

    class Kind(models.TextChoices):
        CREATED = "created", "Created"
        CHANGED = "changed", "Changed"
        DELETED = "deleted", "Deleted"
        RESTORED = "restored", "Restored"
        IMPORTED = "imported", "Loaded from a file"

    collection = models.ForeignKey(Collection, models.DO_NOTHING, db_constraint=False, related_name="revisions")
    external_id = models.CharField("id", max_length=120)
    version = models.PositiveIntegerField()
    kind = models.CharField(max_length=8, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=254, blank=True)  # e-mail address; empty: a command
    actor_id = models.BigIntegerField(null=True, blank=True)
    content = models.JSONField()  # editing.Content, and the answer's id
    act = models.BigIntegerField(null=True, blank=True)  # the Import that made it, one act with others

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["collection", "-at", "-id"], name="faq_history_newest_first"),
            # What one import has done.
            models.Index(fields=["act", "-at", "-id"], condition=~models.Q(act=None), name="faq_history_of_an_import"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # Two changes at once cannot both make the same version; also the index behind the history of an entry.
            models.UniqueConstraint(
                fields=["collection", "external_id", "version"], name="one_faq_revision_per_version"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.external_id}, version {self.version}"


class Import(models.Model):
    """A file of entries: looked over line by line before anything is written, then imported as one act, or not at all.

    Its person is kept as plain values, so that it outlives them.
    """

    class State(models.TextChoices):
        CHECKING = "checking", "Being looked over"
        READY = "ready", "Waiting for your word"
        IMPORTING = "importing", "Being imported"
        DONE = "done", "Imported"
        FAILED = "failed", "Failed"

    class Mode(models.TextChoices):
        ALL = "all", "All or nothing"
        GOOD = "good", "Good rows only"

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="imports")
    name = models.CharField(max_length=200)  # of the file
    size = models.PositiveBigIntegerField(default=0)  # of it, in bytes
    reading = models.JSONField(default=dict)  # imports.reading.Reading
    new_state = models.CharField(max_length=5, choices=Entry.State, default=Entry.State.LIVE)
    state = models.CharField(max_length=9, choices=State, default=State.CHECKING)
    mode = models.CharField(max_length=4, choices=Mode, blank=True)
    folder = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # imports.files
    checked = models.UUIDField(null=True, blank=True)  # the check whose lines count
    new = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    reason = models.TextField(blank=True)  # why it failed, or is to be looked over again
    actor = models.CharField(max_length=254, blank=True)  # e-mail address; empty: a command
    actor_id = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)
    first_revision = models.BigIntegerField(null=True, blank=True)  # of those that it made; it stands for all in lists
    # The worker that has it, since when nobody has heard of it, and how many have ended over it.
    token = models.UUIDField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    OPEN: ClassVar[tuple[str, ...]] = (State.CHECKING, State.IMPORTING)  # a worker is at it, or should be

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["collection", "-created_at", "-id"], name="faq_imports_newest_first"),
            # What is left undone.
            models.Index(
                fields=["state"], condition=models.Q(state__in=["checking", "importing"]), name="faq_imports_at_work"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def counts(self) -> dict[str, int]:
        """Lines by what would become, or became, of them."""
        return {"new": self.new, "changed": self.changed, "unchanged": self.unchanged, "refused": self.refused}

    @property
    def lines(self) -> int:
        return sum(self.counts.values())

    @property
    def writes(self) -> int:
        """Entries that it makes or changes."""
        return self.new + self.changed


class Publication(models.Model):
    """One way of a collection's entries into service: a model trained on them, checked, and put in place.

    The registry has its version, check and rollout; publishing.py follows them.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for a trainer"
        TRAINING = "training", "Training"
        CHECKING = "checking", "Being checked"
        ASKING = "asking", "Waits for a decision"  # it is worse than what serves, or was measured worse in training
        PROMOTING = "promoting", "Going into service"
        DONE = "done", "Published"
        FAILED = "failed", "Failed"
        DROPPED = "dropped", "Not published"  # an editor decided so; what served before serves on

    RUNNING = (State.WAITING, State.TRAINING, State.CHECKING, State.ASKING, State.PROMOTING)

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="publications")
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    started_by = models.CharField(max_length=254, blank=True)  # e-mail address
    actor_id = models.BigIntegerField(null=True, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    entries = models.PositiveIntegerField(default=0)  # live ones that it was trained on
    snapshot_at = models.DateTimeField(null=True, blank=True)  # when they began to be read
    changes = models.JSONField(default=dict, blank=True)  # how many were new, changed and removed
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True, related_name="+")
    rollout = models.ForeignKey(Rollout, models.SET_NULL, null=True, blank=True, related_name="+")
    progress = models.FloatField(default=0.0)  # of the training, 0 to 1
    detail = models.CharField(max_length=300, blank=True)  # what it is doing
    problem = models.TextField(blank=True)  # why it failed; why it asks, one sentence a line
    # The trainer says every few seconds that it is at it; when it is silent, another one begins under a new token.
    heartbeat_at = models.DateTimeField(default=timezone.now)
    token = models.UUIDField(default=uuid.uuid4)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering: ClassVar[list[str]] = ["-started_at", "-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["collection"],
                condition=models.Q(state__in=["waiting", "training", "checking", "asking", "promoting"]),
                name="one_faq_publication_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"publication of {self.collection}, {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def is_running(self) -> bool:
        return self.state in self.RUNNING

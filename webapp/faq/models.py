"""Collections of answered questions: what the FAQ models are trained on, and what a match shows."""

from typing import ClassVar

from django.db import models


class Collection(models.Model):
    """Entries that belong together and are matched by one model of the pods."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    model_name = models.CharField("model", max_length=128, help_text="The model of the scoring pods that matches it.")
    source_digest = models.CharField(max_length=64, blank=True, editable=False)  # SHA-256 of what was last loaded
    is_default = models.BooleanField(default=False, help_text="Searched when a request names no collection.")

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_faq_collection"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One original question with its answer. The pods know it by `external_id`."""

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="entries")
    external_id = models.CharField("id", max_length=120)
    answer_id = models.CharField(max_length=120)
    question = models.TextField()
    answer = models.TextField(help_text="Markdown.")
    tags = models.JSONField(default=list, blank=True)  # a list of short strings

    class Meta:
        ordering: ClassVar[list[str]] = ["collection", "external_id"]
        verbose_name_plural = "entries"
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

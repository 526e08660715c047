import json
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from webapp.batch import queries
from webapp.batch.models import Job
from webapp.batch.services import LONGEST_NAME, MOST_TOP_K, Options
from webapp.keys.api import PageAskSerializer, PageSerializer
from webapp.tables.texts import NO_TEXT

STATES = [state for state in Job.State.values if state != Job.State.DRAFT]  # a draft is of the page alone


@extend_schema_field({"type": "string", "examples": ['{"ticket": "4711"}']})
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Short texts by name, as a JSON object: forms and addresses hold texts only."""

    default_error_messages = {"invalid": 'Send a JSON object of texts, such as {{"ticket": "4711"}}.'}

    def to_internal_value(self, data: Any) -> dict[str, str]:
        try:
            found = json.loads(data)
        except (TypeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(
            isinstance(text, str) and not NO_TEXT.search(name + text) for name, text in found.items()
        ):
            self.fail("invalid")
        return found


class BatchAskSerializer(serializers.Serializer[Any]):
    """What may come with an upload: as fields of its form, or in the address of a raw body."""

    kind = serializers.ChoiceField(
        Job.Kind.choices, required=False, help_text="What the upload must be; by default whatever it is."
    )
    collection = serializers.SlugField(
        max_length=60, required=False, help_text="The collection to search for questions; by default the site's own."
    )
    model = serializers.CharField(
        max_length=128, required=False, help_text="The model that looks at pictures; by default the best there is."
    )
    version = serializers.CharField(
        max_length=128,
        required=False,
        help_text="The version that answers, needs the scope `models:pin`; by default the one that serves.",
    )
    top_k = serializers.IntegerField(
        min_value=1, max_value=MOST_TOP_K, default=5, help_text="Answers for each row, at most."
    )
    column = serializers.CharField(
        max_length=200,
        required=False,
        help_text="The column, or field of JSON lines, that holds the questions: its name, or its number from 1.",
    )
    name = serializers.CharField(
        max_length=LONGEST_NAME, required=False, help_text="For people; by default the file's."
    )
    metadata = MetadataField(
        required=False, help_text="Up to 16 short texts of your own by name, as a JSON object; they come back with it."
    )

    def options(self) -> Options:
        """How the upload is to be scored."""
        told = self.validated_data
        return Options(
            **{
                name: told[name]
                for name in ("kind", "collection", "model", "version", "top_k", "column")
                if name in told
            }
        )


class BatchFormSerializer(BatchAskSerializer):
    """The form as the OpenAPI document shows it: one `file`, or several pictures as `files`."""

    file = serializers.FileField(help_text="CSV, TSV, JSONL, XLSX or TXT with questions, or a ZIP of pictures.")
    files = serializers.ListField(
        child=serializers.FileField(), required=False, help_text="Pictures, in place of `file`."
    )


class CountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="0 until the upload is validated.")
    completed = serializers.IntegerField(help_text="Rows with answers.")
    failed = serializers.IntegerField(help_text="Rows with an error.")


class ProgressSerializer(serializers.Serializer[Any]):
    rows_per_second = serializers.FloatField(help_text="Over the last half minute; 0 while nothing is scored.")
    seconds_left = serializers.FloatField(allow_null=True, help_text="Null where nobody can tell.")


class ReasonSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()


class UrlsSerializer(serializers.Serializer[Any]):
    """Addresses below that of the site."""

    self = serializers.CharField()
    cancel = serializers.CharField()
    retry = serializers.CharField()
    results = serializers.CharField()
    errors = serializers.CharField()  # type: ignore[assignment]  # declared fields do not stay attributes


class BatchSerializer(serializers.Serializer[Any]):
    """A job as programs see it, under the names of the well-known batch APIs."""

    id = serializers.UUIDField()
    object = serializers.ChoiceField(["batch"])
    status = serializers.ChoiceField(STATES)
    kind = serializers.ChoiceField(Job.Kind.choices)
    name = serializers.CharField()
    metadata = serializers.DictField(child=serializers.CharField())
    model = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="The one asked for; null for whichever serves.")
    collection = serializers.CharField(allow_null=True, help_text="Of questions.")
    top_k = serializers.IntegerField()
    request_counts = CountsSerializer(help_text="Rows.")
    progress = ProgressSerializer()
    created_at = serializers.DateTimeField()
    in_progress_at = serializers.DateTimeField(allow_null=True)
    finalizing_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    failed_at = serializers.DateTimeField(allow_null=True)
    expired_at = serializers.DateTimeField(allow_null=True)
    cancelling_at = serializers.DateTimeField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="What is not scored by then is left out.")
    results_kept_until = serializers.DateTimeField(allow_null=True, help_text="Then its files are deleted.")
    errors = ReasonSerializer(  # type: ignore[assignment]  # declared fields do not stay attributes
        many=True, help_text="Why all of it failed. What is wrong with single rows is in the errors file."
    )
    retry_of = serializers.UUIDField(allow_null=True, help_text="The batch whose failed rows these are.")
    urls = UrlsSerializer(help_text="Where the rest of it is, below the site's address.")

    def to_representation(self, instance: Job) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(_told(instance))
        return shown


class BatchesAskSerializer(PageAskSerializer):
    status = serializers.ChoiceField(STATES, required=False, help_text="Only those that are at this point.")
    kind = serializers.ChoiceField(Job.Kind.choices, required=False, help_text="Only those of this kind.")


class BatchesSerializer(PageSerializer):
    data = BatchSerializer(many=True, help_text="The newest first.")  # type: ignore[assignment]  # as above


def address_of(job: Job) -> str:
    return reverse("api:batch", args=[job.pk])


def _told(job: Job) -> dict[str, Any]:
    progress = queries.progress_of(job)
    ended = {f"{state}_at": job.ended_at if job.state == state else None for state in Job.ENDED}
    address = address_of(job)
    return {
        **{name: getattr(job, name) for name in ("id", "kind", "name", "metadata", "model", "top_k", "created_at")},
        "object": "batch",
        "status": job.state,
        "version": job.version or None,
        "collection": job.collection or None,
        "request_counts": {"total": job.total, "completed": job.completed, "failed": job.failed},
        "progress": {"rows_per_second": round(progress.rate, 1), "seconds_left": progress.seconds_left},
        **ended,
        **{name: getattr(job, name) for name in ("in_progress_at", "finalizing_at", "cancelling_at", "expires_at")},
        "results_kept_until": job.kept_until,
        "errors": [{"detail": job.reason}] if job.reason else [],
        "retry_of": job.retry_of_id,
        "urls": {
            "self": address,
            **{name: f"{address}/{name}" for name in ("cancel", "retry", "results", "errors")},
        },
    }

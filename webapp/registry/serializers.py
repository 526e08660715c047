"""The registry's part of the API, as JSON."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from webapp.keys.api import PageAskSerializer, PageSerializer
from webapp.registry.models import Event, Version
from webapp.registry.queries import NOT_YET, has_come


class VersionSerializer(serializers.Serializer[Version]):
    version = serializers.CharField(source="name")
    state = serializers.ChoiceField(choices=Version.State.choices)
    role = serializers.ChoiceField(
        choices=Version.Role.choices, help_text="What it is for while pods have it loaded; else empty."
    )
    percent = serializers.IntegerField(help_text="Of the requests, for a canary or shadow; else 0.")
    registered_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(
        allow_null=True, help_text="When it last passed its check, or was found in service."
    )
    metrics = serializers.DictField(help_text="What its last check measured.")


class ModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField(help_text="`faq`, `image` or `tensors`.")
    title = serializers.CharField(help_text="The name for people.")
    description = serializers.CharField()
    sample = serializers.BooleanField(help_text="True for a model that only stands in for a real one.")
    version = serializers.CharField(help_text="The one that answers; empty while none does.")
    ready = serializers.BooleanField(help_text="Whether it answers right now.")
    reason = serializers.CharField(help_text="Why it is not ready; else empty.")
    metrics = serializers.DictField(help_text="How the version was measured when it was made.")
    versions = VersionSerializer(many=True, help_text="All that were ever registered, the newest first.")


class ModelsSerializer(serializers.Serializer[Any]):
    models = ModelSerializer(many=True)
    unreachable = serializers.ListField(
        child=serializers.CharField(), help_text="One sentence for each part of the scoring service that is away."
    )


class ShareSerializer(serializers.Serializer[Any]):
    version = serializers.CharField()
    percent = serializers.IntegerField(min_value=1, max_value=100, help_text="Of the requests that name no version.")


class ServingSerializer(serializers.Serializer[Any]):
    champion = serializers.CharField(allow_null=True, help_text="The version that answers.")
    canary = ShareSerializer(allow_null=True, help_text="The one that answers a share of the requests instead.")
    shadow = ShareSerializer(allow_null=True, help_text="The one that scores a share again, unseen by callers.")
    standby = serializers.CharField(allow_null=True, help_text="The one a rollback would go to.")


class EventSerializer(serializers.Serializer[Event]):
    id = serializers.IntegerField(source="pk")
    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(choices=Event.Kind.choices)
    version = serializers.CharField(source="version.name", default=None, allow_null=True)
    actor = serializers.CharField(
        help_text="Who did it: an address, or who ran a command; empty for the system itself."
    )
    from_state = serializers.CharField(help_text="Of the version.")
    to_state = serializers.CharField()
    reason = serializers.CharField()
    metrics = serializers.DictField(help_text="Of the version at that time.")
    details = serializers.DictField()
    serving = ServingSerializer(help_text="What answered from then on.")


class ServedAtSerializer(ServingSerializer):
    since = serializers.DateTimeField(help_text="Since when just so.")
    switching_from = serializers.CharField(
        allow_null=True, help_text="The version before, while it was not known yet that all pods had switched."
    )
    converged_at = serializers.DateTimeField(allow_null=True, help_text="When that was known.")


class HistorySerializer(PageSerializer):
    model = serializers.CharField()
    served = ServedAtSerializer(
        allow_null=True, help_text="What served `at` that moment; null without `at`, or before anything is known."
    )
    data = EventSerializer(many=True, help_text="The events, newest first.")  # type: ignore[assignment]  # declared fields do not stay attributes


class HistoryAskSerializer(PageAskSerializer):
    """The address's parameters."""

    at = serializers.DateTimeField(
        required=False,
        help_text="What served at this moment, and the events up to it: RFC 3339, such as 2026-11-23T08:00:00Z.",
    )

    def validate_at(self, at: datetime) -> datetime:
        if not has_come(at):
            raise serializers.ValidationError(NOT_YET)
        return at

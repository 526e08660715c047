"""Webhooks and their deliveries as JSON."""

import json
from typing import Any

from rest_framework import serializers

from webapp.keys.api import PageAskSerializer, PageSerializer
from webapp.webhooks.models import LONGEST_URL, Attempt, Delivery, Endpoint, EventType

EVENT_TYPES = "Which events are sent to it."


class Text(serializers.CharField):
    """A string, and no number in its place."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TrueOrFalse(serializers.BooleanField):
    """JSON's true and false, and none of the words and numbers that forms send instead."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class WebhookAskSerializer(serializers.Serializer[Any]):
    """A webhook to be made."""

    url = Text(max_length=LONGEST_URL, help_text="Where events are posted: an `https://` address on the internet.")
    event_types = serializers.ListField(
        child=serializers.ChoiceField(EventType.choices),
        min_length=1,
        default=EventType.values,
        help_text=f"{EVENT_TYPES} By default all there are today.",
    )
    description = Text(max_length=200, default="", allow_blank=True, help_text="For people.")


class WebhookChangeSerializer(serializers.Serializer[Any]):
    """What is to be different. What is left out stays."""

    url = Text(max_length=LONGEST_URL, required=False, help_text="Where events are posted.")
    event_types = serializers.ListField(
        child=serializers.ChoiceField(EventType.choices), min_length=1, required=False, help_text=EVENT_TYPES
    )
    description = Text(max_length=200, required=False, allow_blank=True, help_text="For people.")
    enabled = TrueOrFalse(required=False, help_text="Whether events are sent to it from now on.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Send at least one field that is to be different.")
        return attrs


class WebhookSerializer(serializers.Serializer[Endpoint]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    event_types = serializers.ListField(child=serializers.CharField(), help_text=EVENT_TYPES)
    description = serializers.CharField()
    enabled = serializers.BooleanField(help_text="Whether events are sent to it.")
    disabled = serializers.ChoiceField(
        choices=Endpoint.Reason.choices,
        allow_blank=True,
        help_text="Why not: the `owner` or an `admin` disabled it, it is `gone` (410), or was `failing` for days.",
    )
    disabled_at = serializers.DateTimeField(allow_null=True)
    failing_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when nothing has got through; null while all is well."
    )
    created_at = serializers.DateTimeField()


class NewWebhookSerializer(WebhookSerializer):
    secret = serializers.CharField(help_text="What events are signed with, `whsec_…`. Told this once.")


class NewSecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="What events are signed with from now on, `whsec_…`. Told this once.")
    before_until = serializers.DateTimeField(help_text="Until then the secret before it signs along.")


class WebhooksSerializer(PageSerializer):
    data = WebhookSerializer(many=True, help_text="Newest first.")  # type: ignore[assignment]  # declared fields do not stay attributes


class DeliveryAskSerializer(PageAskSerializer):
    """What the log takes in its address."""

    state = serializers.ChoiceField(Delivery.State.choices, required=False, help_text="Only deliveries in this state.")


class DeliverySerializer(serializers.Serializer[Delivery]):
    id = serializers.UUIDField()
    message_id = serializers.CharField(help_text="The `webhook-id` of each attempt.")
    type = serializers.CharField(help_text="Of the event.")
    state = serializers.ChoiceField(
        choices=Delivery.State.choices, help_text="`pending` while it is tried, then `delivered` or `failed`."
    )
    attempts = serializers.IntegerField(help_text="How often it was tried.")
    status = serializers.IntegerField(allow_null=True, help_text="Of the last answer; null where there was none.")
    duration_ms = serializers.FloatField(allow_null=True, help_text="How long the last attempt took.")
    error = serializers.CharField(help_text="Why the last attempt failed, for people; else empty.")
    created_at = serializers.DateTimeField(help_text="When the event happened.")
    next_attempt_at = serializers.DateTimeField(source="due_at", allow_null=True, help_text="While it is pending.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When it was delivered or given up.")


class DeliveriesSerializer(PageSerializer):
    data = DeliverySerializer(many=True, help_text="Newest first.")  # type: ignore[assignment]  # declared fields do not stay attributes


class AttemptSerializer(serializers.Serializer[Attempt]):
    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True, help_text="Of the answer; null where there was none.")
    duration_ms = serializers.FloatField()
    error = serializers.CharField(help_text="Why it failed; empty for a success.")
    response = serializers.CharField(help_text="The first kilobyte of what was answered.")


class WholeDeliverySerializer(DeliverySerializer):
    event = serializers.SerializerMethodField(help_text="What is sent: `type`, `timestamp` and `data`.")
    tries = AttemptSerializer(many=True, source="tried.all", help_text="The last 50 attempts, the newest first.")

    def get_event(self, delivery: Delivery) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(delivery.body)
        return event

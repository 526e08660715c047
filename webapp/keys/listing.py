"""GET /api/v1/keys: one's keys, by all that may be known of them."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from webapp.errors import InvalidInput
from webapp.keys.api import (
    ApiRequest,
    ApiView,
    PageAskSerializer,
    PageSerializer,
    UserSerializer,
    list_example,
    page_answer,
)
from webapp.keys.models import Scope
from webapp.keys.queries import keys_of
from webapp.paging import page_of

KEY_EXAMPLE = {
    "prefix": "k3v9x2ma",
    "name": "Support bot",
    "owner": {"email": "ada@example.com", "name": "Ada"},
    "scopes": ["faq:read"],
    "networks": ["203.0.113.0/24"],
    "state": "live",
    "created_at": "2026-11-27T08:00:00Z",
    "expires_at": "2027-03-01T00:00:00Z",
    "last_used_at": "2026-12-04T09:30:00Z",
    "last_used_from": "203.0.113.7",
    "refused_at": None,
    "refused_from": "",
    "secrets": [
        {
            "ending": "SvMh",
            "created_at": "2026-11-27T08:00:00Z",
            "ends_at": None,
            "last_used_at": "2026-12-04T09:30:00Z",
        }
    ],
}


class SecretSerializer(serializers.Serializer[Any]):
    ending = serializers.CharField(help_text="Its last characters; empty for one from before they were kept.")
    created_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Of one before the newest; null: with the key.")
    last_used_at = serializers.DateTimeField(allow_null=True)


class OwnKeySerializer(serializers.Serializer[Any]):
    prefix = serializers.CharField(help_text="What comes after `sp_`: public, tells keys apart.")
    name = serializers.CharField()
    owner = UserSerializer(help_text="You, or a service account that you are responsible for.")
    scopes = serializers.ListField(child=serializers.CharField())
    networks = serializers.ListField(
        child=serializers.CharField(), source="network_list", help_text="Where it may be used from; empty: anywhere."
    )
    state = serializers.ChoiceField(choices=["live", "expired"])
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="Up to a minute behind.")
    last_used_from = serializers.CharField(help_text="An address, or the /64 of an IPv6 address.")
    refused_at = serializers.DateTimeField(allow_null=True, help_text="When it last came from elsewhere.")
    refused_from = serializers.CharField()
    secrets = SecretSerializer(many=True, source="working_secrets", help_text="Those that work, the newest first.")


class OwnKeysSerializer(PageSerializer):
    data = OwnKeySerializer(many=True)  # type: ignore[assignment]  # DRF has an attribute of that name


class KeysView(ApiView):
    required_scope = Scope.KEYS.value
    also_raises = (InvalidInput,)

    @extend_schema(
        operation_id="keys",
        tags=["Account"],
        summary="List your keys",
        description="Those that are not revoked, newest first: yours, and those of the service accounts that you are "
        "responsible for. Secrets are shown once, when they are made, and never here.",
        parameters=[PageAskSerializer],
        responses={200: OwnKeysSerializer},
        examples=[list_example("One key", KEY_EXAMPLE)],
    )
    def get(self, request: ApiRequest) -> Response:
        page = page_of(keys_of(request.auth_principal.user), **self.wishes(PageAskSerializer))
        return page_answer(request, page, OwnKeysSerializer)

"""Publishing by API: what there is to publish, how far it is, and the button."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from webapp.errors import Conflict, NotFound
from webapp.faq import changes, publishing
from webapp.faq.entry_api import EntriesApi
from webapp.faq.models import Publication
from webapp.keys.api import ApiRequest, answer_example, in_path
from webapp.keys.models import Scope

OF_COLLECTION = in_path("slug", str, "Of the collection.", "handbook")
PUBLISHING = {
    "changes": {"new": 2, "changed": 1, "removed": 0, "worded": 3},
    "publication": {
        "state": "checking",
        "started_at": "2026-12-04T09:30:00Z",
        "started_by": "ada@example.com",
        "finished_at": None,
        "entries": 112,
        "version": "3",
        "detail": "",
        "problem": "",
    },
}


class ChangesSerializer(serializers.Serializer[Any]):
    new = serializers.IntegerField(help_text="Live entries that the serving version does not know.")
    changed = serializers.IntegerField(help_text="Those whose question or phrasings it knows otherwise.")
    removed = serializers.IntegerField(help_text="Those it knows though they are deleted, or drafts.")
    worded = serializers.IntegerField(help_text="Those with another answer or tags only; that needs no publishing.")


class PublicationSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(
        choices=Publication.State.choices, help_text="`asking` waits for an editor to decide on the site."
    )
    started_at = serializers.DateTimeField()
    started_by = serializers.CharField()
    finished_at = serializers.DateTimeField(allow_null=True)
    entries = serializers.IntegerField(help_text="Live entries that it is trained on.")
    version = serializers.CharField(
        source="version.name", default=None, allow_null=True, help_text="Once it is trained."
    )
    detail = serializers.CharField(help_text="What it is doing.")
    problem = serializers.CharField(help_text="Why it failed, or asks.")


class PublishingSerializer(serializers.Serializer[Any]):
    changes = ChangesSerializer()
    publication = PublicationSerializer(allow_null=True, help_text="The one on its way, or the last.")


class PublishView(EntriesApi):
    required_scope = Scope.FAQ_WRITE.value
    also_raises = (NotFound, Conflict)
    idempotent = True

    @extend_schema(
        operation_id="faq_publishing",
        tags=["FAQ"],
        summary="See what there is to publish",
        description="Beside what serves, and how far the last publication is. For editors.",
        parameters=[OF_COLLECTION],
        responses={200: PublishingSerializer},
        examples=[answer_example("On its way", PUBLISHING)],
    )
    def get(self, _request: ApiRequest, slug: str) -> Response:
        return self._answer(slug, 200)

    @extend_schema(
        operation_id="publish_faq",
        tags=["FAQ"],
        summary="Publish a collection",
        description="Trains a model on the live entries, measures it beside the one that serves, and puts it into "
        "service if it is not worse; else it waits for an editor to decide on the site. GET says how far it is.",
        parameters=[OF_COLLECTION],
        request=None,
        responses={202: PublishingSerializer},
        examples=[
            OpenApiExample("Begun", value=PUBLISHING, response_only=True, status_codes=["202"]),
        ],
    )
    def post(self, request: ApiRequest, slug: str) -> Response:
        publishing.start(self.editable(slug), by=request.auth_principal.user)
        return self._answer(slug, 202)

    def _answer(self, slug: str, status: int) -> Response:
        collection = self.editable(slug)
        found = {"changes": changes.changes_of(collection), "publication": publishing.current(collection)}
        return Response(PublishingSerializer(found).data, status)

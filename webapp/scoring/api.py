from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.keys.api import ApiRequest, ApiView
from webapp.scoring.client import scoring_client

# What any view that scores can answer, for the OpenAPI document.
SCORING_ERRORS = (ScoringError, ScoringRefused, ScoringUnavailable, ScoringTimeout)


class ModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField(help_text="`faq` or `image`.")
    title = serializers.CharField(help_text="The name for people.")
    description = serializers.CharField()
    sample = serializers.BooleanField(help_text="True for a model that only stands in for a real one.")
    version = serializers.CharField()
    ready = serializers.BooleanField(help_text="Whether it answers right now.")
    reason = serializers.CharField(help_text="Why it is not ready; else empty.")
    metrics = serializers.DictField(help_text="How the version was measured when it was made.")


class ModelsSerializer(serializers.Serializer[Any]):
    models = ModelSerializer(many=True)
    unreachable = serializers.ListField(
        child=serializers.CharField(), help_text="One sentence for each part of the scoring service that is away."
    )


EXAMPLE = OpenApiExample(
    "One model",
    value={
        "models": [
            {
                "name": "faq-javascript",
                "kind": "faq",
                "title": "JavaScript FAQ",
                "description": "Questions developers ask about JavaScript.",
                "sample": True,
                "version": "1",
                "ready": True,
                "reason": "",
                "metrics": {"accuracy@1": 0.9},
            }
        ],
        "unreachable": [],
    },
    response_only=True,
)


class ModelsView(ApiView):
    also_raises = (ScoringUnavailable,)

    @extend_schema(
        operation_id="models",
        tags=["Models"],
        summary="List the models",
        description="All models that the scoring service knows, with the version that answers.",
        responses={200: ModelsSerializer},
        examples=[EXAMPLE],
    )
    def get(self, _request: ApiRequest) -> Response:
        found = scoring_client().models()
        if found.unreachable and not found.models:
            raise ScoringUnavailable(" ".join(found.unreachable), retry_after=2)
        return Response(ModelsSerializer(found).data)

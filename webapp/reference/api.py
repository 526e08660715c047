"""The one address of the reference architecture, so that its clients work unchanged: questions, pictures, GET."""

import time
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from webapp.errors import NotFound, TooLarge
from webapp.faq.queries import collection_called
from webapp.faq.serializers import QuestionField
from webapp.faq.services import rank_all
from webapp.images.services import classify
from webapp.images.uploads import uploads_in
from webapp.keys.api import ApiRequest, ApiView, parse
from webapp.keys.models import Scope
from webapp.keys.parsers import StrictJSONParser
from webapp.scoring.api import SCORING_ERRORS
from webapp.scoring.client import scoring_client
from webapp.usage.feedback import numbered
from webapp.usage.models import ScoringRecord

TOP_K = 3  # categories for each picture, as the reference answers
QUESTION_EXAMPLE = OpenApiExample(
    "A question", value={"input": "how do I copy an array"}, media_type="application/json", request_only=True
)
SCORES_EXAMPLE = OpenApiExample(
    "Every original, best first",
    value=[["js-020", "js-020-a", 0.97], ["js-041", "js-041-a", 0.02]],
    response_only=True,
)
PICTURES_EXAMPLE = OpenApiExample(
    "One picture in a field called `image`",
    value=[{"image": [["n02111889", "Samoyed", 0.93], ["n02114548", "white wolf", 0.02]]}, "Computed in 12.34 ms"],
    response_only=True,
)
# Who answered: the reference's shapes have no place for it.
MODEL, VERSION = "X-Model", "X-Model-Version"
HEADERS = [
    OpenApiParameter(
        name,
        str,
        OpenApiParameter.HEADER,
        response=[200],
        description=description,
        examples=[OpenApiExample("Such as", value=value)],
    )
    for name, description, value in (
        (MODEL, "The model that answered.", "faq-javascript"),
        (VERSION, "Its version. Pictures of one request may have several, set apart by commas.", "7"),
    )
]
POD = inline_serializer(
    "Pod",
    {
        "azEnvironment": serializers.CharField(),
        "location": serializers.CharField(),
        "osType": serializers.CharField(),
        "isServer": serializers.BooleanField(),
        "version": serializers.CharField(),
        "uniqueId": serializers.CharField(),
    },
)


class QuestionSerializer(serializers.Serializer[Any]):
    input = QuestionField()


class PicturesSerializer(serializers.Serializer[Any]):
    image = serializers.FileField(help_text="One or more pictures, in fields of any names.")


class ScoreView(ApiView):
    parser_classes = [StrictJSONParser, MultiPartParser]
    also_raises = (NotFound, *SCORING_ERRORS)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """What is asked decides which scope is needed and which limit it counts in."""
        if request.method == "POST":
            pictures = _brings_pictures(request)
            if not pictures and int(request.META.get("CONTENT_LENGTH") or 0) > settings.MAX_BODY_BYTES:
                raise TooLarge("The question is too large.")
            self.required_scope = (Scope.IMAGES if pictures else Scope.FAQ).value
            self.rate_bucket, self.rows = ("images", 0) if pictures else ("faq", 1)
        super().initial(request, *args, **kwargs)

    @extend_schema(
        operation_id="reference_info",
        tags=["Reference"],
        summary="Say who answers",
        description="What a scoring pod says about itself.",
        responses={200: POD},
    )
    def get(self, _request: ApiRequest) -> Response:
        return Response(scoring_client().pod_info())

    @extend_schema(
        operation_id="reference_score",
        tags=["Reference"],
        summary="Score a question or pictures",
        description=(
            "As JSON, a question: the answer lists every original as `[question id, answer id, probability]`. "
            "As a form, one to eight pictures: the answer has the three most probable categories of each field."
        ),
        request={"application/json": QuestionSerializer, "multipart/form-data": PicturesSerializer},
        parameters=HEADERS,
        responses={200: OpenApiTypes.ANY},
        examples=[QUESTION_EXAMPLE, SCORES_EXAMPLE, PICTURES_EXAMPLE],
    )
    def post(self, request: ApiRequest) -> Response:
        return self._pictures(request) if _brings_pictures(request) else self._question(request)

    def _question(self, request: ApiRequest) -> Response:
        question: str = parse(QuestionSerializer, request.data).validated_data["input"]
        who = request.auth_principal
        answer = rank_all(question, collection_called(None, who.user), who=who)
        scores = [[score.faq_id, score.answer_id, score.probability] for score in answer.scores]
        return _named(scores, answer.model, [answer.version])

    def _pictures(self, request: ApiRequest) -> Response:
        began = time.monotonic()
        uploads = uploads_in(request.FILES)
        self.charge(len(uploads))
        cards = classify(uploads, who=request.auth_principal, source=ScoringRecord.Source.API, top_k=TOP_K)
        for card in cards:
            if card.failure:  # the reference's shape has no place for it beside the others' results
                raise card.failure
        found = {
            name: [[each.label_id, each.label, each.probability] for each in card.predictions]
            for name, card in zip(numbered(card.field for card in cards), cards, strict=True)  # as the pods do it
        }
        took = f"Computed in {(time.monotonic() - began) * 1000:.2f} ms"
        return _named([found, took], cards[0].model, [card.version for card in cards])


def _named(answer: list[Any], model: str, versions: Iterable[str]) -> Response:
    """The answer, with who gave it in its headers."""
    return Response(answer, headers={MODEL: model, VERSION: ", ".join(dict.fromkeys(versions))})


def _brings_pictures(request: Request) -> bool:
    return (request.content_type or "").partition(";")[0].strip().lower() == "multipart/form-data"

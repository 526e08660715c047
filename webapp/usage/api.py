from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.errors import InvalidInput, NotAllowed, NotFound
from webapp.keys.api import ApiRequest, ApiView, parse
from webapp.keys.models import Scope
from webapp.usage import feedback, ledger
from webapp.usage.exports import figures_of
from webapp.usage.forms import may_see_all
from webapp.usage.ledger import Wanted
from webapp.usage.serializers import NOTHING, FeedbackAskSerializer, FeedbackSerializer, UseAskSerializer, UseSerializer
from webapp.usage.views import csv_answer

SAID = {"request_id": "0b4e1c5a-7a9f-4a53-9d0e-2f1f6f1f7c11", "verdict": "wrong"}
NOTED = {**SAID, "id": "js-020", "model": "faq-javascript", "version": "1"}


class FeedbackView(ApiView):
    also_raises = (NotFound,)

    @extend_schema(
        operation_id="feedback",
        tags=["Feedback"],
        summary="Say whether an answer was right",
        description=(
            "About an answer that you got by API, by its `request_id`. A later verdict about the same answer takes the "
            "place of the earlier one. Verdicts on a match count for the version that had answered."
        ),
        request=FeedbackAskSerializer,
        responses={200: FeedbackSerializer},
        examples=[
            OpenApiExample("The best match is wrong", value=SAID, request_only=True),
            OpenApiExample("Noted", value=NOTED, response_only=True),
        ],
    )
    def post(self, request: ApiRequest) -> Response:
        ask: dict[str, Any] = parse(FeedbackAskSerializer, request.data).validated_data
        user = request.auth_principal.user
        nothing = ask["verdict"] == NOTHING
        judged, item = feedback.answer_to(user, ask["request_id"], "" if nothing else ask.get("id", ""))
        item = feedback.NONE_OF_THESE if nothing else item
        noted = feedback.say(user, judged, item, right=ask["verdict"] == "right")
        return Response(FeedbackSerializer(noted).data)


DAY = "2026-11-01"
USE = {"requests": 120, "rows": 150, "errors": 1, "p50_ms": 8.1, "p95_ms": 21.4}


class UseView(ApiView):
    also_raises = (InvalidInput,)

    @extend_schema(
        operation_id="usage",
        tags=["Account"],
        summary="Say how much was asked",
        description=(
            "Requests, rows, errors and latency of your own use, by day, key, model and version. A second behind. "
            "As CSV at `/api/v1/usage.csv`."
        ),
        parameters=[UseAskSerializer],
        responses={200: UseSerializer},
        examples=[
            OpenApiExample(
                "By day",
                value={
                    "since": "2026-11-01",
                    "until": "2026-11-01",
                    "total": USE,
                    "data": [{"day": "2026-11-01", **USE}],
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: ApiRequest) -> Response:
        ask = parse(UseAskSerializer, request.query_params.dict())
        wanted = wanted_by(request, ask)
        data = [
            {**dict(zip(ask.parts, line.names, strict=True)), **figures_of(line.counts)}
            for line in ledger.lines(wanted, ask.parts)
        ]
        total = figures_of(ledger.total(wanted))
        return Response({"since": wanted.since, "until": wanted.until, "total": total, "data": data})


class UseCsvView(ApiView):
    also_raises = (InvalidInput,)

    @extend_schema(
        operation_id="usage_csv",
        tags=["Account"],
        summary="Save how much was asked as CSV",
        description="The same with a line for each day, key, way, model and version; `group_by` changes nothing here.",
        parameters=[UseAskSerializer],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: ApiRequest) -> StreamingHttpResponse:
        return csv_answer(wanted_by(request, parse(UseAskSerializer, request.query_params.dict())))


def wanted_by(request: ApiRequest, ask: UseAskSerializer) -> Wanted:
    """The use asked for. Raises NotAllowed for everybody's without the right and the scope to see it."""
    who = request.auth_principal
    wanted = ask.wanted(who.user)
    if wanted.user is None and not (may_see_all(who.user) and Scope.ADMIN in who.scopes):
        raise NotAllowed(f"To see everybody's use needs the group admin, and a key with `{Scope.ADMIN.value}`.")
    return wanted

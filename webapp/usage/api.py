from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.errors import NotFound
from webapp.keys.api import ApiRequest, ApiView, parse
from webapp.usage import feedback
from webapp.usage.serializers import FeedbackAskSerializer, FeedbackSerializer

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
            "place of the earlier one. Verdicts count for the version that had answered."
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
        judged, item = feedback.answer_to(user, ask["request_id"], ask.get("id", ""))
        noted = feedback.say(user, judged, item, right=ask["verdict"] == "right")
        return Response(FeedbackSerializer(noted).data)

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.errors import AppError, NotFound
from webapp.faq import services
from webapp.faq.serializers import MatchAskSerializer, MatchResultSerializer
from webapp.keys.api import ApiRequest, ApiView, parse
from webapp.keys.models import Scope
from webapp.scoring.api import SCORING_ERRORS
from webapp.usage.models import ScoringRecord

ASK_EXAMPLE = OpenApiExample(
    "A question", value={"question": "how do I copy an array", "top_k": 1, "explain": True}, request_only=True
)
RESULT_EXAMPLE = OpenApiExample(
    "One match",
    value={
        "question": "how do I copy an array",
        "collection": "javascript",
        "model": "faq-javascript",
        "version": "1",
        "threshold": 0.4,
        "answered": True,
        "matches": [
            {
                "id": "js-020",
                "answer_id": "js-020-a",
                "question": "How do I copy an array?",
                "answer": "Use spread syntax: `const copy = [...list]`.",
                "tags": ["arrays"],
                "probability": 0.97,
                "terms": {"question": ["copy", "array"], "entry": ["copy", "array"]},
            }
        ],
        "duration_ms": 6.2,
        "request_id": "0b4e1c5a-7a9f-4a53-9d0e-2f1f6f1f7c11",
    },
    response_only=True,
)


class MatchView(ApiView):
    required_scope = Scope.FAQ.value
    rate_bucket = "faq"
    also_raises: tuple[type[AppError], ...] = (NotFound, *SCORING_ERRORS)

    @extend_schema(
        operation_id="faq_match",
        tags=["FAQ"],
        summary="Match a question with the FAQ",
        description="The entries that most probably answer the question, most probable first.",
        request=MatchAskSerializer,
        responses={200: MatchResultSerializer},
        examples=[ASK_EXAMPLE, RESULT_EXAMPLE],
    )
    def post(self, request: ApiRequest) -> Response:
        ask = parse(MatchAskSerializer, request.data).ask()
        result = services.match(ask, who=request.auth_principal, source=ScoringRecord.Source.API)
        return Response(MatchResultSerializer(result).data)

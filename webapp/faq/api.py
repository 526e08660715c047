from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.errors import AppError, InvalidInput, NotFound
from webapp.faq import queries, services
from webapp.faq.serializers import (
    CollectionSerializer,
    CollectionsSerializer,
    MatchAskSerializer,
    MatchResultSerializer,
)
from webapp.keys.api import (
    ApiRequest,
    ApiView,
    PageAskSerializer,
    answer_example,
    in_path,
    list_example,
    page_answer,
    parse,
)
from webapp.keys.models import Scope
from webapp.paging import page_of
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
        "ambiguous": False,
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


COLLECTION = {
    "slug": "javascript",
    "name": "JavaScript",
    "description": "Questions developers ask about JavaScript, with answers.",
    "language": "en",
    "visibility": "signed-in",
    "is_default": True,
    "model": "faq-javascript",
    "threshold": None,
    "has_model": True,
    "entries": 112,
}
OF_COLLECTION = in_path("slug", str, "Of the collection.", "javascript")


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
        ask = parse(MatchAskSerializer, request.data).ask(request.auth_principal.user)
        result = services.match(ask, who=request.auth_principal, source=ScoringRecord.Source.API)
        return Response(MatchResultSerializer(result).data)


class CollectionsView(ApiView):
    required_scope = Scope.FAQ.value
    also_raises = (InvalidInput,)
    etagged = True

    @extend_schema(
        operation_id="faq_collections",
        tags=["FAQ"],
        summary="List the collections",
        description="Those that you may ask, the newest first.",
        parameters=[PageAskSerializer],
        responses={200: CollectionsSerializer},
        examples=[list_example("One collection", COLLECTION)],
    )
    def get(self, request: ApiRequest) -> Response:
        found = queries.described(queries.visible_to(request.auth_principal.user))
        page = page_of(found, **self.wishes(PageAskSerializer), by=("pk",))
        return page_answer(request, page, CollectionsSerializer)


class CollectionView(ApiView):
    required_scope = Scope.FAQ.value
    also_raises = (NotFound,)
    etagged = True

    @extend_schema(
        operation_id="faq_collection",
        tags=["FAQ"],
        summary="Read a collection",
        description="One that you may ask. Any other looks as if there were none.",
        parameters=[OF_COLLECTION],
        responses={200: CollectionSerializer},
        examples=[answer_example("A collection", COLLECTION)],
    )
    def get(self, request: ApiRequest, slug: str) -> Response:
        found = queries.described(queries.visible_to(request.auth_principal.user).filter(slug=slug))
        return Response(CollectionSerializer(queries.chosen(found, slug)).data)

import time
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from webapp.errors import AppError, InvalidInput, NotFound, ScoringError, ScoringRefused
from webapp.images import services
from webapp.images.serializers import ClassifyAskSerializer, ClassifyFormSerializer, ClassifyResultSerializer
from webapp.images.services import Card
from webapp.images.uploads import PictureParser, uploads_in
from webapp.keys import limits
from webapp.keys.api import ApiRequest, ApiView, parse
from webapp.keys.models import Scope
from webapp.request_ids import current_request_id
from webapp.scoring.api import SCORING_ERRORS
from webapp.usage.models import ScoringRecord

RESULT_EXAMPLE = OpenApiExample(
    "One picture",
    value={
        "model": "resnet152",
        "version": "1",
        "results": [
            {
                "field": "files",
                "filename": "dog.jpg",
                "version": "1",
                "predictions": [{"label": "Samoyed", "label_id": "n02111889", "probability": 0.93}],
                "error": None,
            }
        ],
        "duration_ms": 120.5,
        "request_id": "0b4e1c5a-7a9f-4a53-9d0e-2f1f6f1f7c11",
    },
    response_only=True,
)
OF_A_BODY = " For a raw body; a form may have it as a field."


class ClassifyView(ApiView):
    required_scope = Scope.IMAGES.value
    rate_bucket = "images"
    rows = 0
    also_raises: tuple[type[AppError], ...] = (NotFound, *SCORING_ERRORS)
    parser_classes = [MultiPartParser, PictureParser]

    @extend_schema(
        operation_id="images_classify",
        tags=["Images"],
        summary="Classify one to eight pictures",
        description=(
            "Send a form with the pictures, or one picture as the raw body. A file that cannot be classified has its "
            "`error` and spoils no other; when none can, the answer is a problem. With `explain` each result has a "
            "`heatmap` of what spoke for its first category (Grad-CAM)."
        ),
        parameters=[
            OpenApiParameter(
                "model",
                {"type": "string", "minLength": 1},
                description="The model that looks at the picture." + OF_A_BODY,
            ),
            OpenApiParameter(
                "version",
                {"type": "string", "minLength": 1, "maxLength": 128},
                description="The version of the model, needs the scope `models:pin`." + OF_A_BODY,
            ),
            OpenApiParameter(
                "top_k",
                {"type": "integer", "minimum": 1, "maximum": 50, "default": 5},
                description="Categories." + OF_A_BODY,
            ),
            OpenApiParameter(
                "explain",
                {"type": "boolean", "default": False},
                description="Show where the first category was seen; not every model can." + OF_A_BODY,
            ),
        ],
        request={"multipart/form-data": ClassifyFormSerializer, "image/*": OpenApiTypes.BINARY},
        responses={200: ClassifyResultSerializer},
        examples=[RESULT_EXAMPLE],
    )
    def post(self, request: ApiRequest) -> Response:
        began = time.monotonic()
        uploads = uploads_in(request.FILES)
        asked = {**request.query_params.dict(), **request.POST.dict()}
        ask: dict[str, Any] = parse(ClassifyAskSerializer, asked).validated_data
        self.charge(len(uploads))
        cards = services.classify(uploads, who=request.auth_principal, source=ScoringRecord.Source.API, **ask)
        raise_when_all_failed(cards)
        limits.give_back(request._request, rows=services.failures_among(cards))
        result = {
            "model": cards[0].model,
            "version": next(card.version for card in cards if not card.failure),
            "results": cards,
            "duration_ms": round((time.monotonic() - began) * 1000, 3),
            "request_id": current_request_id(),
        }
        return Response(ClassifyResultSerializer(result).data)


def raise_when_all_failed(cards: list[Card]) -> None:
    """Raises the problem of the whole request when no picture was classified: the pods', or what is wrong with each."""
    failure = services.failure_of_all(cards)
    if failure is None:
        return
    of_the_pods = isinstance(failure, ScoringError) and not isinstance(failure, ScoringRefused)
    if of_the_pods or len(cards) == 1:
        raise failure
    details = {f"{card.field}[{number}]": card.failure.detail for number, card in enumerate(cards) if card.failure}
    raise InvalidInput("None of the pictures can be classified; `errors` says why for each.", fields=details)

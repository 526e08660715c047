from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from webapp.errors import AppError
from webapp.images import queries, services
from webapp.images.services import Card
from webapp.images.uploads import uploads_in
from webapp.keys import limits
from webapp.keys.principal import principal_of
from webapp.partials import render_page, wants_part
from webapp.scoring.answers import ModelInfo
from webapp.usage.models import ScoringRecord


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def classify(request: HttpRequest) -> HttpResponse:
    """The images page; a POST answers with a card for each file. What goes wrong is said in it, with its status."""
    models: list[ModelInfo] = []
    model: ModelInfo | None = None
    cards: list[Card] | None = None
    error: AppError | None = None
    try:
        models = queries.image_models()
        model = queries.chosen(models, request.POST.get("model") or request.GET.get("model"))
        if request.method == "POST":
            cards = _answer(request, model)
    except AppError as raised:
        error = raised
    context: dict[str, object] = {
        "models": models,
        "model": model,
        "samples": queries.samples_for(model) if model else [],
        "max_files": settings.MAX_IMAGES,
        "max_bytes": settings.MAX_IMAGE_BYTES,
        "cards": cards,
        "with_pictures": not wants_part(request),  # a script has them
        "error": error,
    }
    part = "images/_error.html" if error else "images/_cards.html"
    failure = error or services.failure_of_all(cards or [])
    return render_page(request, "images/classify.html", part, context, error=failure)


def _answer(request: HttpRequest, model: ModelInfo) -> list[Card]:
    who = principal_of(request)
    uploads = uploads_in(request.FILES)
    limits.charge(request, who, "images", rows=len(uploads))
    cards = services.classify(
        uploads,
        who=who,
        source=ScoringRecord.Source.PAGE,
        model=model.name,
        explain="explain" in request.POST,
        again="again" in request.POST,
    )
    limits.give_back(request, rows=services.failures_among(cards))
    return cards

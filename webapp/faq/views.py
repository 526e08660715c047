from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from webapp.errors import AppError, InvalidInput
from webapp.faq import queries, services
from webapp.faq.forms import QuestionForm
from webapp.faq.models import Collection
from webapp.faq.services import MatchAsk, MatchResult
from webapp.keys import limits
from webapp.keys.principal import principal_of
from webapp.partials import render_page
from webapp.usage.models import ScoringRecord


@require_safe
@login_required
def search(request: HttpRequest) -> HttpResponse:
    """The search page. A question in the address is answered in it; what goes wrong is said in it, with its status."""
    collection = queries.default_collection()
    form = QuestionForm(request.GET if request.GET.get("q", "").strip() else None)
    outcome: MatchResult | None = None
    error: AppError | None = None
    if collection and form.is_bound:
        try:
            outcome = _answer(request, form, collection)
        except AppError as raised:
            error = raised
    context: dict[str, object] = {
        "form": form,
        "question": request.GET.get("q", ""),
        "outcome": outcome,
        "error": error,
        # Most answers to a typing person show no examples: then nothing is read.
        "examples": SimpleLazyObject(lambda: queries.example_questions(collection)) if collection else [],
        "collection": collection,
    }
    return render_page(request, "faq/search.html", "faq/_results.html", context, error=error)


def _answer(request: HttpRequest, form: QuestionForm, collection: Collection) -> MatchResult:
    who = principal_of(request)
    limits.charge(request, who, "faq")
    if not form.is_valid():
        raise InvalidInput(str(form.errors["q"][0]), field="q")
    ask = MatchAsk(form.cleaned_data["q"], collection, explain=True)
    return services.match(ask, who=who, source=ScoringRecord.Source.PAGE, live=form.cleaned_data["live"])

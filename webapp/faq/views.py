from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from webapp.errors import AppError, InvalidInput
from webapp.faq import queries, services
from webapp.faq.forms import QuestionForm
from webapp.faq.models import Collection
from webapp.faq.services import MatchAsk, MatchResult
from webapp.keys import limits
from webapp.keys.principal import principal_of
from webapp.partials import render_page, wants_part
from webapp.usage.models import ScoringRecord

LONGEST_ADDRESS = 4000  # characters: what servers and proxies take without complaint


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def search(request: HttpRequest) -> HttpResponse:
    """The search page. A question in the address is answered in it; what goes wrong is said in it, with its status.

    The form posts, for a question may be too long for an address; one that is not gets its address, to be shared.
    """
    given = request.POST if request.method == "POST" else request.GET
    question = given.get("q", "")
    if request.method == "POST" and not wants_part(request):
        address = f"{reverse('faq:search')}?{urlencode({'q': question})}"
        if len(address) <= LONGEST_ADDRESS:
            return HttpResponseRedirect(address)
    collection = queries.default_collection()
    form = QuestionForm(given if question.strip() else None)
    outcome: MatchResult | None = None
    error: AppError | None = None
    if collection and form.is_bound:
        try:
            outcome = _answer(request, form, collection)
        except AppError as raised:
            error = raised
    context: dict[str, object] = {
        "form": form,
        "question": question,
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
    return services.match(
        ask,
        who=who,
        source=ScoringRecord.Source.PAGE,
        live=form.cleaned_data["live"],
        restored="HX-History-Restore-Request" in request.headers,
    )

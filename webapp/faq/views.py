import re

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from webapp.accounts.models import User
from webapp.errors import AppError, InvalidInput, NotFound
from webapp.faq import queries, services
from webapp.faq.forms import QuestionForm
from webapp.faq.models import Collection
from webapp.faq.services import MatchAsk, MatchResult
from webapp.keys import limits
from webapp.keys.principal import Visitor, asking
from webapp.partials import render_page, wants_part
from webapp.usage.models import ScoringRecord

TYPING = re.compile(r"[A-Za-z0-9-]{1,40}")  # what the page's script calls itself
LONGEST_ADDRESS = 4000  # characters: what servers and proxies take without complaint


@require_http_methods(["GET", "HEAD", "POST"])
def search(request: HttpRequest, slug: str = "") -> HttpResponse:
    """The search page of a collection; of the default one where the address names none.

    A question in the address is answered in it; what goes wrong is said in it, with its status. The form posts, for a
    question may be too long for an address; one that is not gets its address, to be shared. A visitor may ask public
    collections; all others, be there any or not, send them to sign in.
    """
    person = request.user if isinstance(request.user, User) else None
    given = request.POST if request.method == "POST" else request.GET
    question = given.get("q", "")
    collections = list(queries.visible_to(person))
    collection = collections[0] if collections and not slug else None
    if slug:
        try:
            collection = queries.chosen(collections, slug)
        except NotFound:
            if person:
                raise
    # The history knows which model was asked, and so which collection.
    asked = next((each for each in collections if each.model_name == request.GET.get("model")), None)
    if asked and not slug and asked != collection:
        return HttpResponseRedirect(f"{reverse('faq:collection', args=[asked.slug])}?{urlencode({'q': question})}")
    if person is None and collection is None:
        address = f"{request.path}?{urlencode({'q': question})}" if question else request.path
        return redirect_to_login(address if len(address) <= LONGEST_ADDRESS else request.path)
    if request.method == "POST" and not wants_part(request):
        address = f"{request.path}?{urlencode({'q': question})}"
        if len(address) <= LONGEST_ADDRESS:
            return HttpResponseRedirect(address)
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
        "lacks_model": SimpleLazyObject(lambda: queries.lacks_model(collection)) if collection else False,
        "collection": collection,
        "collections": collections,
        "may_edit": SimpleLazyObject(lambda: queries.edited_by(person).filter(pk=collection.pk).exists())
        if person and collection
        else False,
    }
    return render_page(request, "faq/search.html", "faq/_results.html", context, error=error)


def _answer(request: HttpRequest, form: QuestionForm, collection: Collection) -> MatchResult:
    who = asking(request)
    if isinstance(who, Visitor):
        limits.charge_visitor(request, who)
    else:
        limits.charge(request, who, "faq")
    if not form.is_valid():
        raise InvalidInput(str(form.errors["q"][0]), field="q")
    typing = given if TYPING.fullmatch(given := form.data.get("typing", "")) else ""
    ask = MatchAsk(form.cleaned_data["q"], collection, explain=True, typing=typing)
    return services.match(
        ask,
        who=who,
        source=ScoringRecord.Source.PAGE,
        live=form.cleaned_data["live"],
        restored="HX-History-Restore-Request" in request.headers,
    )

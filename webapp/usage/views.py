from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.errors import InvalidInput, NotFound, NotSignedIn
from webapp.keys import limits
from webapp.keys.limits import limited
from webapp.keys.principal import Visitor, asking, principal_of
from webapp.partials import render_page, wants_part
from webapp.usage import exports, feedback, queries, services
from webapp.usage.forms import UseForm, may_see_all
from webapp.usage.ledger import Wanted
from webapp.usage.models import ScoringRecord
from webapp.usage.serializers import VERDICTS
from webapp.usage.use_page import UsePage


@require_safe
@login_required
@never_cache
def history(request: HttpRequest) -> HttpResponse:
    """The person's own requests, newest first. An unknown `kind` shows all kinds."""
    kind = request.GET.get("kind", "")
    if kind not in ScoringRecord.Kind:
        kind = ""
    page = queries.history_of(principal_of(request).user, kind, request.GET.get("before"))
    context = {"records": page.items, "kind": kind, "next_cursor": page.next_cursor}
    return render_page(request, "usage/history.html", "usage/_records.html", context)


@require_safe
@login_required
@never_cache
def use(request: HttpRequest) -> HttpResponse:
    """How much the person asked, or everybody: figures, charts by day, and a table by what they choose."""
    user = principal_of(request).user
    form = UseForm(request.GET, user=user)
    context = {"form": form, "use": UsePage.of(form.wanted(), form.part), "may_see_all": may_see_all(user)}
    return render(request, "usage/use.html", context)


@require_safe
@login_required
@never_cache
@limited("other")
def use_csv(request: HttpRequest) -> HttpResponseBase:
    """The same use, as a file with all that is known."""
    wanted = UseForm(request.GET, user=principal_of(request).user).wanted()
    return csv_answer(wanted)


def csv_answer(wanted: Wanted) -> StreamingHttpResponse:
    """The file as an answer to save."""
    name = f"scorepod-usage-{wanted.since}-{wanted.until}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(exports.lines(wanted), content_type="text/csv; charset=utf-8", headers=headers)


@require_POST
@login_required
@limited("other")
def delete(request: HttpRequest, record_id: int) -> HttpResponse:
    """Deletes one record. A script gets an empty answer to put in its place, others the history again."""
    if not services.delete(principal_of(request).user, record_id):
        raise NotFound("There is no such record in your history. It may already be deleted.")
    if wants_part(request):
        return HttpResponse()
    messages.success(request, "Deleted from your history.")
    return redirect("usage:history")


@require_POST
def judge(request: HttpRequest) -> HttpResponse:
    """Keeps what the person, or a visitor, says of one answer. A script gets the buttons anew, others a page with them.

    verdict: "right", "wrong", "nothing" (none of them is right) or "none" (taken back), a space, and the item meant:
    the value of the button that was pressed.
    """
    who = asking(request)
    if isinstance(who, Visitor):
        limits.charge_visitor(request, who)
        user = None
    else:
        limits.charge(request, who, "other")
        user = who.user
    try:
        judged = feedback.read_token(user, request.POST.get("token", ""))
    except NotSignedIn:
        return redirect_to_login(reverse("faq:search"))
    said, _, item = request.POST.get("verdict", "").partition(" ")
    if said == "none":
        feedback.take_back(user, judged, item)
    elif said in VERDICTS and item:
        feedback.say(user, judged, item, right=said == "right")
    elif said == "nothing":
        item = feedback.NONE_OF_THESE
        feedback.say(user, judged, item, right=False)
    else:
        raise InvalidInput("A verdict is right, wrong, nothing or none. Use the buttons of the page.", field="verdict")
    context = {"judged": judged, "item": item, "said": said}
    return render_page(request, "usage/feedback.html", "components/verdict.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@limited("other")
def delete_all(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return render(request, "usage/delete_all.html")
    count = services.delete_all(principal_of(request).user)
    messages.success(request, f"Deleted {count} {'record' if count == 1 else 'records'} from your history.")
    return redirect("usage:history")

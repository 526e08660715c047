"""The page on which editors say how probable a good match must be."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from webapp.errors import InvalidInput
from webapp.faq.entry_views import for_editors
from webapp.faq.models import Collection
from webapp.faq.thresholds import MOST, ThresholdPage, set_threshold
from webapp.keys.principal import principal_of
from webapp.partials import render_page


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def threshold(request: HttpRequest, collection: Collection) -> HttpResponse:
    """Looked at with `t`, in percent, as often as one likes; posted, it counts from the next question on."""
    if request.method == "POST":
        wanted = None if request.POST.get("do") == "own" else _share(request.POST.get("t", ""))
        set_threshold(collection, wanted, by=principal_of(request).user)
        messages.success(request, "Saved. It counts from the next question on.")
        return redirect("faq:threshold", collection.slug)
    given = request.GET.get("t", "")
    page = ThresholdPage(collection, _share(given) if given else None)
    context = {"collection": collection, "page": page, "most": round(MOST * 100)}
    return render_page(request, "faq/threshold/page.html", "faq/threshold/_answer.html", context)


def _share(text: str) -> float:
    """Percent as typed, as a share. Raises InvalidInput."""
    try:
        percent = float(text.replace(",", "."))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= MOST * 100:
        raise InvalidInput("A threshold is a number from 0 to 98 percent.", field="t")
    return round(percent / 100, 4)

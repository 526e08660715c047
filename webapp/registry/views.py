from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from webapp.partials import render_page
from webapp.registry import overview


@require_safe
@login_required
@never_cache
def status(request: HttpRequest) -> HttpResponse:
    """For everybody signed in: which models answer, with which version, how well. A script gets the figures alone."""
    return render_page(request, "registry/status.html", "registry/_status.html", {"overview": overview.now()})

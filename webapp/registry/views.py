from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from webapp.accounts.models import User
from webapp.partials import render_page
from webapp.registry import discretion, overview


@require_safe
@login_required
@never_cache
def status(request: HttpRequest) -> HttpResponse:
    """For everybody signed in: which models answer, with which version, how well. A script gets the figures alone."""
    assert isinstance(request.user, User)  # login_required has seen to it
    shown = discretion.overview_for(request.user, overview.now())
    return render_page(request, "registry/status.html", "registry/_status.html", {"overview": shown})

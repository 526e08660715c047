"""The pages that belong to no app: the front door, and what explains the API."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from webapp import apidocs, problems
from webapp.errors import NotFound


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this is, for strangers; people signed in go straight to their work."""
    return redirect("faq:search") if request.user.is_authenticated else render(request, "home.html")


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Every operation of the API with its fields, answers and calls to copy."""
    return render(request, "api/docs.html", {"groups": apidocs.groups(), "kinds": problems.BY_SLUG.values()})


@require_safe
def problem(request: HttpRequest, slug: str) -> HttpResponse:
    """What a problem's `type` leads to: its cause and its remedy."""
    kind = problems.BY_SLUG.get(slug)
    if kind is None:
        raise NotFound("There is no problem of this name.")
    return render(request, "api/problem.html", {"kind": kind, "kinds": problems.BY_SLUG.values()})

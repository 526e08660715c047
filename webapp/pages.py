"""The pages that belong to no app: the front door, and what explains the API."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from webapp import apidocs, guide, openapi, problems
from webapp.errors import NotFound
from webapp.faq import queries as collections
from webapp.guide import Page
from webapp.keys import queries as keys


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this is, for strangers; people signed in go straight to their work."""
    if request.user.is_authenticated:
        return redirect("faq:search")
    return render(request, "home.html", {"collections": collections.visible_to(None)})


@require_safe
def api_docs(request: HttpRequest, page: Page) -> HttpResponse:
    """A page of the guide to the API; its examples name a key of the reader's, if there is one."""
    here = guide.PAGES.index(page)
    context: dict[str, Any] = {
        "page": page,
        "pages": guide.PAGES,
        "before": guide.PAGES[here - 1] if here else None,
        "after": next(iter(guide.PAGES[here + 1 :]), None),
        "sections": guide.sections(page),
        "keys": keys.live_keys_of(request.user) if request.user.is_authenticated else [],
    }
    template = "api/guide.html"
    if page is guide.REFERENCE:
        template, context["groups"] = "api/reference.html", apidocs.groups()
    elif page is guide.ERRORS:
        examples = [(kind, apidocs.text_of(openapi.example_of(kind))) for kind in problems.BY_SLUG.values()]
        template, context["kinds"] = "api/errors.html", examples
    elif page is guide.CHANGES:
        template, context["changelog"] = "api/changes.html", guide.changelog()
    return render(request, template, context)


@require_safe
def problem(request: HttpRequest, slug: str) -> HttpResponse:
    """What a problem's `type` leads to: its cause and its remedy."""
    kind = problems.BY_SLUG.get(slug)
    if kind is None:
        raise NotFound("There is no problem of this name.")
    return render(request, "api/problem.html", {"kind": kind, "kinds": problems.BY_SLUG.values()})

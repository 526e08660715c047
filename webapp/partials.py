"""Pages whose changing part can be sent alone."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from webapp import problems
from webapp.errors import AppError


def wants_part(request: HttpRequest) -> bool:
    """Whether a script asks for the changing part only. Boosted links and htmx's own Back want the whole page."""
    headers = request.headers
    if headers.get("X-Requested-With") == "fetch":
        return True
    whole = "HX-Boosted" in headers or "HX-History-Restore-Request" in headers
    return headers.get("HX-Request") == "true" and not whole


def render_page(
    request: HttpRequest, page: str, part: str, context: Mapping[str, object], *, error: AppError | None = None
) -> HttpResponse:
    """The page, or its part when a script asks for that; caches are told that the two differ.

    error: what went wrong and is explained in the page; gives the answer its status and headers.
    """
    response = render(request, part if wants_part(request) else page, dict(context))
    patch_vary_headers(response, ["HX-Request", "HX-Boosted", "HX-History-Restore-Request", "X-Requested-With"])
    if error:
        problem = problems.problem_of(error)
        response.status_code = problem["status"]
        for name, value in problems.headers_of(error, problem).items():
            response.headers[name] = value
    return response

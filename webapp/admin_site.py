"""Django's admin under our rules: roles at its door, a second factor where more is at stake than looking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from webapp.accounts import roles
from webapp.accounts.models import User
from webapp.errors import NotAllowed
from webapp.partials import render_page
from webapp.registry import overview

View = Callable[..., HttpResponseBase]


@dataclass(frozen=True)
class Section:
    """A link in the admin's top bar."""

    title: str
    symbol: str
    url: str
    current: bool


class AdminSite(admin.AdminSite):
    """The one admin site. People sign in where everybody does; it has no sign-in, sign-out and password of its own."""

    site_header = site_title = "Scorepod"
    index_title = "Overview"
    enable_nav_sidebar = False

    # What the top bar leads to, for those who may see it: title, icon, app and model.
    SECTIONS = (
        ("Models", "layers", "registry", "scoringmodel"),
        ("People", "people", "accounts", "user"),
        ("API keys", "key", "keys", "apikey"),
        ("FAQ", "question", "faq", "collection"),
    )

    # What Django's lists are about, by app: people's own data lie in four apps.
    SUBJECTS = {
        "batch": "API",
        "accounts": "People",
        "audit": "People",
        "account": "People",
        "auth": "People",
        "mfa": "People",
        "socialaccount": "People",
        "faq": "FAQ",
        "keys": "API",
        "usage": "API",
        "webhooks": "API",
        "registry": "Models",
    }

    def has_permission(self, request: HttpRequest) -> bool:
        return roles.may_enter(request.user) and not roles.step_before(request)

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]  # it is another one
        """The view for those who may enter. The others are led to what they lack, and then back."""
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **names: Any) -> HttpResponseBase:
            return self._stop(request, request.get_full_path()) or inner(request, *args, **names)

        return update_wrapper(guarded, inner)

    def login(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:
        """The door: on to where one was going, or to what one lacks."""
        index = reverse("admin:index")
        back_to = request.GET.get("next", index)
        if not url_has_allowed_host_and_scheme(back_to, allowed_hosts=None) or back_to.startswith(request.path):
            back_to = index
        return self._stop(request, back_to) or redirect(back_to)

    def _stop(self, request: HttpRequest, back_to: str) -> HttpResponse | None:
        """Where people have to go first. Raises NotAllowed for those who have no business here."""
        if isinstance(request.user, AnonymousUser):
            return redirect_to_login(back_to)
        if not roles.may_enter(request.user):
            raise NotAllowed("You have no role here. An administrator can make you a viewer, operator or admin.")
        if step := roles.step_before(request):
            return redirect(f"{step}?{urlencode({'next': back_to})}")
        return None

    def logout(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]  # Django's stubs promise a template
        return redirect("account_logout")

    def password_change(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]  # Django's
        return redirect("account_change_password")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if isinstance(request.user, User):
            context |= {"sections": self._sections(request)}
        return context

    def _sections(self, request: HttpRequest) -> list[Section]:
        index = reverse("admin:index")
        found = [Section("Overview", "home", index, request.path == index)]
        for title, symbol, app, model in self.SECTIONS:
            if request.user.has_perm(f"{app}.view_{model}"):
                url = reverse("models:list") if app == "registry" else reverse(f"admin:{app}_{model}_changelist")
                within = url if app == "registry" else reverse("admin:app_list", args=[app])
                found.append(Section(title, symbol, url, request.path.startswith(within)))
        return found

    def _data(self, request: HttpRequest) -> dict[str, list[dict[str, Any]]]:
        """Django's lists that the person may open, by what they are about."""
        found: dict[str, list[dict[str, Any]]] = {}
        for app in self.get_app_list(request):
            found.setdefault(self.SUBJECTS.get(app["app_label"], app["name"]), []).extend(app["models"])
        return dict(sorted(found.items()))

    def index(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponseBase:  # type: ignore[override]  # a TemplateResponse, in Django's stubs
        """The start page: pods, models, background work, what happened. A script asks for the figures alone."""
        context = {
            **self.each_context(request),
            "title": self.index_title,
            "overview": overview.now(),
            "events": overview.events() if roles.may_see_history(request.user) else None,
            "data": self._data(request),
            **(extra_context or {}),
        }
        request.current_app = self.name  # as Django's own pages do
        return render_page(request, "admin/index.html", "admin/_overview.html", context)

"""The pages of models and versions in admin. What changes something is in admin_actions.py and admin_uploads.py."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from webapp.accounts.roles import may_see_history
from webapp.errors import InvalidInput, NotFound
from webapp.registry import evaluation_sets, queries, services
from webapp.registry.admin_base import AdminPage, ModelView, VersionView, add_errors, demand
from webapp.registry.admin_live import MOVING, Live
from webapp.registry.admin_report import ReportView
from webapp.registry.forms import HistoryForm, MomentForm, NewModelForm, SettingsForm
from webapp.registry.models import Check, Event, ScoringModel, Version

EVENTS = 20  # of the history on one page
EARLIER_CHECKS = 10


class ModelList(AdminPage):
    """All models, and the form for another."""

    def get(self, _request: HttpRequest) -> HttpResponse:
        return self._show(NewModelForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        demand(request, "add_scoringmodel")
        form = NewModelForm(request.POST)
        if not form.is_valid():
            return self._show(form, status=422)
        try:
            model = services.create_model(**form.cleaned_data, by=self.person)
        except InvalidInput as error:
            add_errors(form, error)
            return self._show(form, status=422)
        messages.success(request, f"{model.label} is made. Upload its first version.")
        return redirect("models:model", model.name)

    def _show(self, form: NewModelForm, *, status: int = 200) -> HttpResponse:
        context = {"title": "Models", "cards": queries.model_cards(), "form": form}
        return self.page("admin/registry/list.html", context, status=status)


# One model ------------------------------------------------------------------------------------------------------------


class LivingView(ModelView):
    """A page with a part that is fetched again and again, and swapped only when it differs."""

    def part(self, template: str, context: Mapping[str, object], *, besides: object = "") -> dict[str, object]:
        """The part, and the digest by which a later one is known to be the same. besides: what else it depends on."""
        html = render_to_string(template, {**self.rights(), "model": self.model, **context}, self.request)
        return {"part": SafeString(html), "seen": hashlib.sha256(f"{html}{besides}".encode()).hexdigest()[:16]}

    def answer(self, template: str, context: Mapping[str, object]) -> HttpResponse:
        """The part alone, or nothing when the one who asks shows it already."""
        if context["seen"] == self.request.GET.get("seen"):
            return HttpResponse(status=204)
        return self.page(template, context)


class ModelLive(LivingView):
    """What serves, what is on its way there, and what versions there are."""

    def living(self) -> dict[str, object]:
        live = Live(self.model, every_version=self.request.GET.get("versions") == "all")
        latest = self.model.events.values_list("pk", flat=True).first() or 0
        part = self.part("admin/registry/_live.html", {"live": live}, besides=latest)
        return {**part, "live": live, "every": live.every, "latest": latest}

    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        living = self.living()
        answer = self.answer("admin/registry/_model_part.html", living)
        if request.GET.get("latest", "") != str(living["latest"]):
            answer["HX-Trigger-After-Swap"] = "history-changed"  # on which the page fetches its history again
        return answer


class ModelPage(ModelLive):
    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        context: dict[str, object] = {"title": self.model.label}
        if may_see_history(request.user):
            context |= {**self._history(request), **self._moment(request)}
        return self.page("admin/registry/model.html", {**self.living(), **context})

    def _history(self, request: HttpRequest) -> dict[str, object]:
        """One page of what happened, as the address asks for it."""
        versions = list(self.model.versions.values_list("name", flat=True))
        history = HistoryForm(request.GET, versions=versions)
        wanted = history.wanted()
        page = queries.history(
            self.model,
            before=request.GET.get("before"),
            size=EVENTS,
            kinds=[wanted["kind"]] if wanted["kind"] else (),
            version=wanted["version"],
            actor=wanted["actor"],
        )
        return {
            "history": history,
            "is_filtered": any(wanted.values()),
            "events": page.items,
            "next_cursor": page.next_cursor,
            "before": request.GET.get("before", ""),
            "query": _query(request, "at", *wanted),
        }

    def _moment(self, request: HttpRequest) -> dict[str, object]:
        """What served at the moment that was asked for, if one was."""
        if not request.GET.get("at"):
            return {"moment": MomentForm()}
        form = MomentForm(request.GET)
        if not form.is_valid():
            return {"moment": form}
        at = form.cleaned_data["at"]
        return {"moment": form, "at": at, "served": queries.served_at(self.model, at)}


def _query(request: HttpRequest, *names: str) -> str:
    """Those parts of the address that another page of the list keeps."""
    kept = request.GET.copy()
    for name in set(kept) - set(names):
        del kept[name]
    return f"{kept.urlencode()}&" if any(kept.values()) else ""


class Settings(ModelView):
    permission = "change_scoringmodel"

    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        return self._show(SettingsForm(instance=self.model))

    def post(self, request: HttpRequest, **_names: str) -> HttpResponse:
        form = SettingsForm(request.POST, instance=self.model)
        if not form.is_valid():
            self.model.refresh_from_db()  # the form has written into it
            return self._show(form, status=422)
        services.change_settings(self.model, by=self.person, **form.cleaned_data)
        messages.success(request, "Saved." if form.has_changed() else "Nothing was changed.")
        return redirect("models:model", self.model.name)

    def _show(self, form: SettingsForm, *, status: int = 200) -> HttpResponse:
        return self.page("admin/registry/settings.html", {"title": "Settings", "form": form}, status=status)


class EvaluationPicture(ModelView):
    """A picture of the evaluation set, for those who look at what two versions made of it."""

    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        data = evaluation_sets.picture(self.model, request.GET.get("file", ""))
        form = _form_of(data) if data else None
        if data is None or form is None:
            raise NotFound("The evaluation set holds no such picture (any more).")
        return HttpResponse(data, content_type=form, headers={"Cache-Control": "private, max-age=3600"})


_FORMS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def _form_of(data: bytes) -> str | None:
    """The content type by the first bytes; None for what browsers should not be shown."""
    return next((form for begin, form in _FORMS.items() if data.startswith(begin)), None)


# One version ----------------------------------------------------------------------------------------------------------


class VersionLive(LivingView, VersionView):
    """Its state, what can be done with it, and its check: live while that runs."""

    def living(self) -> dict[str, object]:
        check = self._check()
        context: dict[str, Any] = {
            "version": self.version,
            "registered_by": queries.registered_by(self.version),
            "last_passed": queries.last_passed(self.version),
            "check": check,
            "report": ReportView(check) if check else None,
            "is_latest": check is not None and check == self.version.checks.first(),
            "accuracy_title": "Top-k accuracy" if self.model.kind == ScoringModel.Kind.IMAGE else "Accuracy at k",
            "rollout": self.version.rollouts.filter(state__in=["loading", "switching"]).first(),
            "checks": self.version.checks.defer("report", "steps")[:EARLIER_CHECKS],
        }
        if may_see_history(self.request.user):
            context["events"] = Event.objects.filter(version=self.version).select_related("version")[:EVENTS]
        is_moving = context["rollout"] or (check and check.state == Check.State.RUNNING)
        return {
            **self.part("admin/registry/_version_live.html", context),
            "every": MOVING if is_moving else None,
            "says": f"Check {check.get_state_display().lower()}." if check else "",
        }

    def _check(self) -> Check | None:
        """The check that the address names, else the last one."""
        checks = self.version.checks.select_related("version", "champion")
        wanted = self.request.GET.get("check", "")
        return (checks.filter(pk=wanted).first() if wanted.isdecimal() else None) or checks.first()

    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        return self.answer("admin/registry/_version_part.html", self.living())


class VersionPage(VersionLive):
    def get(self, request: HttpRequest, **_names: str) -> HttpResponse:
        return self.page(
            "admin/registry/version.html",
            {
                **self.living(),
                "title": f"{self.model.label}, version {self.version.name}",
                "newer": self._neighbour(newer=True),
                "older": self._neighbour(newer=False),
            },
        )

    def _neighbour(self, *, newer: bool) -> Version | None:
        others = self.model.versions
        if newer:
            return others.filter(pk__gt=self.version.pk).order_by("pk").first()
        return others.filter(pk__lt=self.version.pk).order_by("-pk").first()

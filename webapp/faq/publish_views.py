"""The page on which editors put into service what they have written."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from webapp.errors import AppError, InvalidInput
from webapp.faq import changes, publishing
from webapp.faq.changes import Changes
from webapp.faq.comparison import Measured
from webapp.faq.entry_views import for_editors
from webapp.faq.models import Collection, Publication
from webapp.keys.principal import principal_of
from webapp.partials import wants_part
from webapp.registry.admin_report import Disagreement, ReportView
from webapp.registry.models import Check, Version
from webapp.templatetags.ui import percent

State = Publication.State
EARLIER = 10  # publications
MOVING = 1  # seconds between two looks while one is on its way
SHOWN = 6  # questions that get another answer
CSRF_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="[^"]*"')  # another one each time


@dataclass(frozen=True)
class Stage:
    """A part of the way into service. state: waiting, running, passed or failed, as the steps of checks have it."""

    title: str
    state: str
    detail: str = ""
    share: float | None = None  # 0 to 1, while it runs


class PublishPage:
    """What the page shows of a collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.publication = publishing.current(collection)

    @property
    def is_running(self) -> bool:
        return self.publication is not None and self.publication.is_running

    @property
    def is_asking(self) -> bool:
        return self.publication is not None and self.publication.state == State.ASKING

    @property
    def every(self) -> int | None:
        return MOVING if self.is_running and not self.is_asking else None

    @property
    def says(self) -> str:
        """For a screen reader, when it changes."""
        return self.publication.get_state_display() if self.publication else ""

    @cached_property
    def changes(self) -> Changes:
        return changes.changes_of(self.collection)

    @cached_property
    def serving(self) -> Version | None:
        return changes.champion_of(self.collection)

    @cached_property
    def serving_publication(self) -> Publication | None:
        found = self.collection.publications.filter(version=self.serving) if self.serving else None
        return found.first() if found is not None else None

    @cached_property
    def serving_figure(self) -> str:
        return figure_of(self.serving) if self.serving else ""

    @cached_property
    def earlier(self) -> Sequence[Publication]:
        return list(self.collection.publications.select_related("version__model")[:EARLIER])

    @cached_property
    def check(self) -> Check | None:
        version = self.publication.version if self.publication else None
        return version.checks.select_related("version", "champion").first() if version else None

    @cached_property
    def report(self) -> ReportView | None:
        return ReportView(self.check) if self.check else None

    @cached_property
    def disagreements(self) -> Sequence[Disagreement]:
        """Questions that the two answer differently: first those that would be lost."""
        return self.report.disagreements[:SHOWN] if self.report else ()

    @property
    def problems(self) -> Sequence[str]:
        return self.publication.problem.splitlines() if self.publication else ()

    @cached_property
    def in_training(self) -> Sequence[tuple[str, str]]:
        """What was measured in training of the new version and of what serves, for people."""
        version = self.publication.version if self.publication else None
        return [(f"Version {each.name}", figure_of(each)) for each in (version, self.serving) if each]

    @property
    def stages(self) -> list[Stage]:
        publication = self.publication
        assert publication
        order = [State.WAITING, State.TRAINING, State.CHECKING, State.ASKING, State.PROMOTING, State.DONE]
        failed = publication.state in {State.FAILED, State.DROPPED}
        at = order.index(State(publication.state)) if not failed else self._failed_at(publication)
        titles = ("Train", "Check", "Compare", "Into service")
        details = (publication.detail, self._check_detail(), "", publication.detail)
        shares = (publication.progress, self.check.progress if self.check else 0.0, None, None)
        place = {0: 0, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4}[at]
        return [
            Stage(
                title,
                "passed" if number < place else "waiting" if number > place else "failed" if failed else "running",
                detail if number == place and not failed else "",
                share if number == place and not failed else None,
            )
            for number, (title, detail, share) in enumerate(zip(titles, details, shares, strict=True))
        ]

    def _failed_at(self, publication: Publication) -> int:
        if publication.rollout_id:
            return 4
        if publication.version_id is None:
            return 1
        return 2 if self.check is None or self.check.state != Check.State.PASSED else 3

    def _check_detail(self) -> str:
        steps = self.check.steps if self.check else []
        step = next((each for each in steps if each["state"] == "running"), None)
        return f"{step['title']}. {step['detail']}" if step else "Waits for a worker."


def figure_of(version: Version) -> str:
    """How well a version finds the right entry, in words for editors."""
    accuracy, inputs = version.metrics.get("accuracy_at_1"), version.metrics.get("inputs")
    if isinstance(accuracy, float | int) and inputs:
        return f"{percent(accuracy)} of {inputs:,} test questions found their entry first"
    if measured := Measured.of(version):
        return (
            f"{percent(measured.accuracy)} of {measured.questions:,} phrasings, each held out in training, "
            "found their entry first"
        )
    made = version.manifest.get("metrics") or {}
    if made.get("measured_on") == "test_phrasings":
        return (
            f"{percent(made['accuracy_at_1'])} of {made['questions']:,} test questions found their entry first, when "
            "it was trained"
        )
    return "not measured: it has no phrasings to measure with"


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def publish(request: HttpRequest, collection: Collection) -> HttpResponse:
    """What there is to publish, the publication on its way, and those before. Posted: begins, decides or stops."""
    error: AppError | None = None
    if request.method == "POST":
        try:
            _do(request, collection)
        except AppError as raised:
            error = raised
        else:
            return redirect("faq:publish", collection.slug)
    page = PublishPage(collection)
    context = {"collection": collection, "page": page, "error": error, "reason": request.POST.get("reason", "")}
    html = render_to_string("faq/publish/_part.html", context, request)
    seen = hashlib.sha256(CSRF_TOKEN.sub("", html).encode()).hexdigest()[:16]
    shown = {**context, "part": SafeString(html), "seen": seen}
    if wants_part(request):
        if request.GET.get("seen") == seen:
            return HttpResponse(status=204)
        return render(request, "faq/publish/_live.html", shown)
    return render(request, "faq/publish/page.html", shown, status=422 if error else 200)


def _do(request: HttpRequest, collection: Collection) -> None:
    by = principal_of(request).user
    match request.POST.get("do"):
        case "start":
            publishing.start(collection, by=by)
        case "promote":
            reason = request.POST.get("reason", "").replace("\0", "")[:500]
            publishing.promote_anyway(_meant(request, collection), by=by, reason=reason)
        case "drop":
            publishing.drop(_meant(request, collection), by=by)
            messages.success(request, "Stopped. What served before serves on.")
        case _:
            raise InvalidInput("Choose what to do: start, promote or drop.", field="do")


def _meant(request: HttpRequest, collection: Collection) -> Publication:
    """The publication that the form was about; another one may have begun since."""
    pk = request.POST.get("publication", "")
    found = collection.publications.filter(pk=pk).first() if pk.isascii() and pk.isdecimal() and len(pk) < 19 else None
    if found is None:
        raise InvalidInput("There is no such publication. Look at the page again.", field="publication")
    return found

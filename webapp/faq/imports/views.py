"""The pages on which editors import entries from files, and export them."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp import problems
from webapp.errors import AppError, Conflict, FilesError, InvalidInput, NotFound, TooLarge
from webapp.faq import diffs, exporting, queries
from webapp.faq.editing import Content
from webapp.faq.entry_views import for_editors
from webapp.faq.exporting import FORMATS
from webapp.faq.imports import files, services
from webapp.faq.imports.files import ALL, Staged
from webapp.faq.imports.forms import ReadingForm, described
from webapp.faq.models import Collection, Entry, Import
from webapp.keys.principal import principal_of
from webapp.partials import render_page, wants_part

ON_A_PAGE = 50  # lines
LOOK_EVERY = 1  # seconds, while a worker is at it
REFUSALS = (InvalidInput, Conflict, TooLarge, FilesError)
TITLES = {"refused": "Refused", "changed": "Changed", "new": "New", "unchanged": "Unchanged", ALL: "All lines"}
EXPORTS = {"csv": "CSV", "tsv": "TSV", "xlsx": "Excel", "jsonl": "JSON lines"}
SAYS = {
    Import.State.CHECKING: "The file is looked over",
    Import.State.READY: "The file is looked over: confirm or discard",
    Import.State.IMPORTING: "Entries are being imported",
    Import.State.DONE: "Imported",
    Import.State.FAILED: "It failed",
}


# Upload ---------------------------------------------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def imports(request: HttpRequest, collection: Collection) -> HttpResponse:
    """The form for an upload, and what was imported before.

    The address is exempt from the site's CSRF check, which would read the whole file before anybody has asked who
    sends it; the check is made once that is known.
    """
    if request.method != "POST":
        return _show_upload(request, collection)
    return csrf_protect(_upload)(request, collection)


def _upload(request: HttpRequest, collection: Collection) -> HttpResponse:
    """Takes the upload and leads on to its preview. A script is told where that is, or what is wrong."""
    try:
        file = request.FILES.get("file")
        if file is None:
            raise InvalidInput("Choose a file: CSV, TSV, XLSX or JSON lines.", field="file")
        made = services.create(collection, file.chunks(), name=str(file.name), by=principal_of(request).user)
    except REFUSALS as error:
        status = problems.problem_of(error)["status"]
        if wants_part(request):
            return JsonResponse({"field": None, "detail": error.detail}, status=status)
        return _show_upload(request, collection, error.detail, status=status)
    address = reverse("faq:import", args=[collection.slug, made.pk])
    return JsonResponse({"location": address}, status=201) if wants_part(request) else redirect(address)


def _show_upload(
    request: HttpRequest, collection: Collection, refusal: str = "", *, no_export: str = "", status: int = 200
) -> HttpResponse:
    page = queries.imports_of(collection, cursor=request.GET.get("before"))
    context = {
        "collection": collection,
        "refusal": refusal,
        "no_export": no_export,
        "formats": EXPORTS.items(),
        "count": collection.entries.count(),
        "imports": page.items,
        "next_cursor": page.next_cursor,
        "most_bytes": settings.FAQ_IMPORT_BYTES,
        "most_lines": settings.FAQ_IMPORT_LINES,
    }
    return render(request, "faq/imports/list.html", context, status=status)


# One import -----------------------------------------------------------------------------------------------------------


@require_safe
@for_editors
def one(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """What a file would change, line by line; how far it is; what came of it."""
    return _page(request, queries.import_of(collection, pk))


def _page(
    request: HttpRequest, which: Import, form: ReadingForm | None = None, *, error: AppError | None = None
) -> HttpResponse:
    done = files.progress_of(which) if which.is_open else 0
    total = which.writes if which.state == Import.State.IMPORTING else 0
    context: dict[str, Any] = {
        "collection": which.collection,
        "import": which,
        "form": form or ReadingForm(which),
        "described": described(which),
        "can_be_read_again": files.upload_of(which).is_file(),
        "every": LOOK_EVERY if which.is_open else 0,
        "says": SAYS[Import.State(which.state)],
        "done": min(done, total) if total else done,
        "share": min(1.0, done / total) if total else None,
        "error": error,
        **(_lines(request, which) if which.checked and not which.is_open else {}),
    }
    response = render_page(request, "faq/imports/one.html", "faq/imports/_one.html", context, error=error)
    if form is not None and form.errors:
        response.status_code = 422
    return response


def _lines(request: HttpRequest, which: Import) -> Mapping[str, object]:
    """The lines of one outcome, a page of them. An outcome that there is not is the first of those that there are."""
    counts = {**which.counts, ALL: which.lines}
    shown = [name for name in TITLES if counts[name] or name == ALL]
    show = request.GET.get("show", "")
    show = show if show in shown else shown[0]
    number = request.GET.get("page", "")
    pages = max(1, -(-counts[show] // ON_A_PAGE))
    page = min(int(number), pages) if number.isascii() and number.isdecimal() and 0 < len(number) < 9 else 1
    page = max(1, page)
    try:
        lines = files.some_lines(which, show, (page - 1) * ON_A_PAGE, ON_A_PAGE)
    except FilesError as error:
        return {"gone": error.detail}
    return {
        "tabs": [(name, TITLES[name], counts[name]) for name in shown],
        "show": show,
        "lines": _with_differences(which, lines),
        "page": page,
        "pages": pages,
    }


def _with_differences(which: Import, lines: list[Staged]) -> list[tuple[Staged, object]]:
    """Each line; beside one that would change an entry, what differs."""
    if which.state == Import.State.DONE:
        return [(line, None) for line in lines]
    ids = [line.id for line in lines if line.outcome == "changed"]
    found = Entry.objects.filter(collection=which.collection, external_id__in=ids).prefetch_related("phrasings")
    now = {entry.external_id: Content.of(entry) for entry in found}
    return [
        (line, diffs.differences(now[line.id], line.wanted) if line.outcome == "changed" and line.id in now else None)
        for line in lines
    ]


@require_safe
@for_editors
def export(request: HttpRequest, collection: Collection, form: str) -> HttpResponseBase:
    """All entries as a file, drafts too."""
    if form not in FORMATS:
        raise NotFound("There is no such export. There are: " + ", ".join(FORMATS) + ".")
    try:
        pieces = exporting.pieces(collection, form, drafts=True)
    except InvalidInput as error:
        return _show_upload(request, collection, no_export=error.detail, status=422)
    # The first at once: what is wrong with it is then said with its status.
    first = next(pieces, b"")
    name = f"{collection.slug}-{timezone.now():%Y-%m-%d}.{form}"
    headers = {"Content-Disposition": content_disposition_header(True, name) or ""}
    return StreamingHttpResponse(chain([first], pieces), content_type=FORMATS[form], headers=headers)


@require_POST
@for_editors
def read(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """Has the file looked over anew, read as the form says."""
    which = queries.import_of(collection, pk)
    form = ReadingForm(which, request.POST)
    if form.is_valid() and (how := form.save()):
        try:
            services.read_again(which, how, new_state=form.cleaned_data["new_state"])
            return redirect("faq:import", collection.slug, pk)
        except REFUSALS as error:
            form.add_error(None, error.detail)
    return _page(request, which, form)


@require_POST
@for_editors
def start(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """Imports what was looked over."""
    which = queries.import_of(collection, pk)
    mode = request.POST.get("mode", "")
    try:
        if mode not in Import.Mode.values:
            raise InvalidInput("Choose all or nothing, or the good rows only.", field="mode")
        if request.POST.get("checked") != str(which.checked):
            raise Conflict("It was looked over anew meanwhile. Look at it again.")
        services.start(which, Import.Mode(mode), by=principal_of(request).user)
    except REFUSALS as error:
        return _page(request, queries.import_of(collection, pk), error=error)
    return redirect("faq:import", collection.slug, pk)


@require_POST
@for_editors
def discard(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    which = queries.import_of(collection, pk)
    try:
        services.discard(which)
    except Conflict as error:
        return _page(request, queries.import_of(collection, pk), error=error)
    messages.success(request, f"“{which.name}” is discarded; nothing of it was imported.")
    return redirect("faq:imports", collection.slug)

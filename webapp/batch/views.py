"""The pages of batches: their list, an upload, its preview, and the page of each."""

from collections.abc import Mapping
from typing import cast, get_args
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp import problems
from webapp.batch import exports, files, pictures, queries, reading, services, uploads
from webapp.batch.forms import OptionsForm, ReadingForm
from webapp.batch.job_page import JobPage
from webapp.batch.models import Job
from webapp.batch.results import Which
from webapp.bodies import length_of
from webapp.errors import (
    AppError,
    Conflict,
    FilesError,
    InvalidInput,
    NotFound,
    RateLimited,
    ScoringUnavailable,
    TooLarge,
)
from webapp.keys.limits import limited
from webapp.keys.principal import principal_of
from webapp.partials import render_page, wants_part

# What the list can be narrowed down to.
FILTERS = {
    "open": ("At work", Job.OPEN),
    "completed": ("Completed", (Job.State.COMPLETED,)),
    "failed": ("Failed", (Job.State.FAILED, Job.State.EXPIRED)),
    "cancelled": ("Cancelled", (Job.State.CANCELLED,)),
    "draft": ("Drafts", (Job.State.DRAFT,)),
}
LOOK_EVERY = 3  # seconds, while something in the list is at work
READ_OTHERWISE = "The file is read in another way now. Look over its columns, then start."
REFUSALS = (InvalidInput, Conflict, TooLarge, RateLimited, FilesError, ScoringUnavailable)


@require_safe
@login_required
@never_cache
def batches(request: HttpRequest) -> HttpResponse:
    """The person's batches, newest first. An unknown `state` shows all."""
    user = principal_of(request).user
    state = request.GET.get("state", "")
    _, states = FILTERS.get(state, ("", ()))
    before = request.GET.get("before")
    page = queries.jobs_of(user, states=states, cursor=before, drafts=True)
    moving = any(job.is_open for job in page.items)
    context = {
        "jobs": [(job, queries.progress_of(job)) for job in page.items],
        "next_cursor": page.next_cursor,
        "before": before,
        "state": state if states else "",
        "states": [(slug, name) for slug, (name, _) in FILTERS.items()],
        "every": LOOK_EVERY if moving else 0,
    }
    return render_page(request, "batch/list.html", "batch/_list.html", context)


# Upload and preview ---------------------------------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def new(request: HttpRequest) -> HttpResponse:
    """The form for an upload, which becomes a draft.

    The address is exempt from the site's CSRF check, which would read gigabytes before anybody has asked who sends
    them; the check is made once that is known.
    """
    if request.method != "POST":
        return _show_upload(request)
    try:
        services.require_room(principal_of(request).user, length_of(request.META.get("CONTENT_LENGTH")))
    except (Conflict, FilesError) as error:
        return _refuse(request, error)
    return csrf_protect(_upload)(request)


def _upload(request: HttpRequest) -> HttpResponse:
    """Takes the upload, and leads on to its preview. A script is told where that is, or what is wrong."""
    try:
        job = services.create_draft(principal_of(request), upload=uploads.upload_of(request))
    except REFUSALS as error:
        return _refuse(request, error)
    address = reverse("batch:batch", args=[job.pk])
    return JsonResponse({"location": address}, status=201) if wants_part(request) else redirect(address)


def _refuse(request: HttpRequest, error: AppError) -> HttpResponse:
    status = problems.problem_of(error)["status"]
    if wants_part(request):
        return JsonResponse({"field": None, "detail": error.detail}, status=status)
    return _show_upload(request, error.detail, status=status)


def _show_upload(request: HttpRequest, refusal: str = "", *, status: int = 200) -> HttpResponse:
    context = {
        "refusal": refusal,
        "room": queries.room_of(principal_of(request).user),
        "most_pictures": pictures.MAX_PICTURES,
        "most_files": settings.DATA_UPLOAD_MAX_NUMBER_FILES,
        "most_picture_bytes": settings.MAX_IMAGE_BYTES,
        "kept_days": settings.BATCH_KEPT_DAYS,
    }
    return render(request, "batch/new.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def read(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Reads the draft's file as the form says and shows the preview again, with all that was filled in."""
    job = _own(request, batch_id)
    if request.method != "POST" or job.state != Job.State.DRAFT:
        return redirect("batch:batch", batch_id)
    try:
        how = _read_as_said(job, request.POST)
    except Conflict:  # started meanwhile
        return redirect("batch:batch", batch_id)
    options = OptionsForm(job, reading.reading_of(job), request.POST)
    options.errors.clear()  # it is not sent yet
    return _show_draft(request, job, how, options, status=422 if how.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def start(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Starts the draft, read and with the options as the form says. Read now with other columns, it is shown again."""
    job = _own(request, batch_id)
    if request.method != "POST" or job.state != Job.State.DRAFT:
        return redirect("batch:batch", batch_id)
    shown = _table_of(job)
    try:
        how = _read_as_said(job, request.POST)
    except Conflict:  # started meanwhile
        return redirect("batch:batch", batch_id)
    sent = request.POST.copy()
    is_as_shown = _table_of(job) == shown
    if not is_as_shown:
        sent.pop("column", None)  # it was chosen among others
    form = OptionsForm(job, reading.reading_of(job), sent)
    status = 422
    if form.is_valid() and not how.errors:
        try:
            if not is_as_shown:
                raise InvalidInput(READ_OTHERWISE, field="column")
            services.start(job, options=form.options(), name=form.cleaned_data["name"])
            return redirect("batch:batch", batch_id)
        except REFUSALS as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
            status = problems.problem_of(error)["status"]
            job.refresh_from_db()
            if job.state != Job.State.DRAFT:
                return redirect("batch:batch", batch_id)
    if not how.errors:
        how = ReadingForm(reading.reading_of(job))
    return _show_draft(request, job, how, form, status=status)


def _table_of(job: Job) -> tuple[str, str, int]:
    """What makes the draft's columns others than they were: their names alone may change."""
    found = reading.reading_of(job)
    return found.format, found.delimiter, len(found.columns)


def _read_as_said(job: Job, sent: QueryDict) -> ReadingForm:
    """Reads the draft's file again where the form says another way than now; the form as it is now, or with its errors.

    Raises Conflict when the draft has been started.
    """
    form = ReadingForm(reading.reading_of(job), sent)
    if not form.is_valid() or not form.again:
        return form
    try:
        services.read_again(job, **form.again)
    except (InvalidInput, FilesError) as error:
        form.add_error("format" if "format" in form.fields else None, error.detail)
        return form
    return ReadingForm(reading.reading_of(job))


def _show_draft(
    request: HttpRequest, job: Job, how: ReadingForm, options: OptionsForm, *, status: int = 200
) -> HttpResponse:
    found = reading.reading_of(job)
    rows, trouble = [], ""
    try:
        with files.disk_errors():
            rows = reading.preview(files.upload_of_job(job), found)
    except (InvalidInput, FilesError) as error:
        trouble = error.detail
    context = {
        "job": job,
        "reading": found,
        "how": how,
        "form": options,
        "columns": list(enumerate(found.columns[: reading.SHOWN_COLUMNS])),
        "rows": rows,
        "trouble": trouble,
    }
    response = render_page(request, "batch/draft.html", "batch/_draft.html", context)
    response.status_code = status
    return response


# One batch ------------------------------------------------------------------------------------------------------------


@require_safe
@login_required
@never_cache
def batch(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """How far a batch is and what came of it; of a draft, its preview."""
    job = _own(request, batch_id)
    if job.state == Job.State.DRAFT:
        found = reading.reading_of(job)
        return _show_draft(request, job, ReadingForm(found), OptionsForm(job, found))
    page = JobPage(job, request.GET.get("tab", ""), request.GET.get("after", ""))
    context = {"job": job, "page": page, "kept_days": settings.BATCH_KEPT_DAYS}
    return render_page(request, "batch/job.html", "batch/_job.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def cancel(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Asks before a batch is cancelled: what is not scored by then is left out."""
    job = _own(request, batch_id)
    if request.method != "POST":
        return render(request, "batch/cancel.html", {"job": job})
    try:
        services.cancel(job)
    except Conflict as error:
        messages.error(request, error.detail)
    return redirect("batch:batch", batch_id)


@require_POST
@login_required
@limited("other")
def retry(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Makes a new batch of the rows without an answer, and goes there."""
    try:
        again = services.retry_failed(_own(request, batch_id), principal_of(request))
    except (Conflict, FilesError) as error:
        messages.error(request, error.detail)
        return redirect("batch:batch", batch_id)
    return redirect("batch:batch", again.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def delete(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Asks before a batch goes with its upload and results; it cannot be undone."""
    job = _own(request, batch_id)
    if request.method != "POST":
        return render(request, "batch/delete.html", {"job": job})
    try:
        services.delete(job)
    except Conflict as error:
        messages.error(request, error.detail)
        return redirect("batch:batch", batch_id)
    messages.success(request, f"“{job.name}” is deleted.")
    return redirect("batch:list")


@require_safe
@login_required
@never_cache
@limited("other")
def download(request: HttpRequest, batch_id: UUID, which: str, form: str) -> HttpResponseBase:
    """The results or errors as a file; of a workbook that is still to be made, a page that waits for it."""
    job = _own(request, batch_id)
    if which not in get_args(Which) or form not in exports.FORMATS:
        raise NotFound("There is no such download.")
    asked = cast("Which", which)
    if form == "xlsx" and ((path := exports.xlsx(job, asked)) is None or wants_part(request)):
        context = {"job": job, "which": asked, "ready": path is not None, "every": LOOK_EVERY}
        return render_page(request, "batch/preparing.html", "batch/_preparing.html", context)
    return exports.download(job, asked, form)


@require_safe
@login_required
def thumbnail(request: HttpRequest, batch_id: UUID, row: int) -> HttpResponseBase:
    """A small copy of one of the first pictures."""
    path = files.thumbnail(_own(request, batch_id), row)
    try:
        file = path.open("rb")
    except OSError as error:
        raise NotFound("There is no small copy of this picture.") from error
    headers: Mapping[str, str] = {"Cache-Control": "private, max-age=86400, immutable"}
    return FileResponse(file, content_type="image/jpeg", headers=dict(headers))


def _own(request: HttpRequest, batch_id: UUID) -> Job:
    return queries.job_of(principal_of(request).user, batch_id)

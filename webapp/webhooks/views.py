"""The pages of webhooks: their list, one with its deliveries, one delivery with its attempts."""

import json
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.models import User
from webapp.errors import AppError, Conflict, InvalidInput
from webapp.keys.limits import limited
from webapp.keys.principal import principal_of
from webapp.partials import render_page
from webapp.webhooks import queries, services, targets
from webapp.webhooks.forms import EndpointForm
from webapp.webhooks.models import Delivery, Endpoint


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def webhooks(request: HttpRequest) -> HttpResponse:
    """The person's webhooks and the form for another. Only the answer that makes one ever shows its secret."""
    user = principal_of(request).user
    form = EndpointForm(request.POST or None)
    new, status = None, 200
    if request.method == "POST":
        new = _create(user, form)
        status = 201 if new else 422
    endpoints = list(queries.endpoints_of(user))
    context = {
        "endpoints": endpoints,
        "form": EndpointForm() if new else form,
        "new": new,
        "most": services.MOST,
        "may_add": sum(each.owner_id == user.pk for each in endpoints) < services.MOST,
    }
    return render(request, "webhooks/list.html", context, status=status)


def _create(user: User, form: EndpointForm) -> services.NewSecret | None:
    """The new webhook; None, with the reasons in the form, when what was entered will not do."""
    if not form.is_valid():
        return None
    try:
        asked = {**form.cleaned_data, "url": targets.checked(form.cleaned_data["url"])}
        return services.create(user, **asked)
    except (InvalidInput, Conflict) as error:
        _tell(form, error)
        return None


def _tell(form: EndpointForm, error: AppError) -> None:
    form.add_error(error.field if error.field in form.fields else None, error.detail)


@require_safe
@login_required
@never_cache
def endpoint(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """One webhook and what was sent to it, newest first. An unknown `state` shows all."""
    return _page(request, queries.endpoint_of(principal_of(request).user, endpoint_id))


def _page(request: HttpRequest, shown: Endpoint, new: services.NewSecret | None = None) -> HttpResponse:
    state = request.GET.get("state", "")
    if state not in Delivery.State:
        state = ""
    before = request.GET.get("before")
    page = queries.deliveries_of(shown, state=state, cursor=before)
    context = {
        "endpoint": shown,
        "new": new,
        "deliveries": page.items,
        "next_cursor": page.next_cursor,
        "state": state,
        "states": Delivery.State.choices,
        # What is tried for the first time ends within seconds: the page then looks again by itself.
        "moving": not before and any(each.state == "pending" and not each.tries for each in page.items),
    }
    return render_page(request, "webhooks/endpoint.html", "webhooks/_deliveries.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def edit(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    changed = queries.endpoint_of(principal_of(request).user, endpoint_id)
    kept = {"url": changed.url, "description": changed.description, "event_types": changed.event_types}
    form = EndpointForm(request.POST or None, initial=kept)
    if request.method == "POST" and form.is_valid():
        try:
            services.change(changed, **form.cleaned_data)
        except InvalidInput as error:
            _tell(form, error)
        else:
            messages.success(request, "Saved.")
            return redirect("webhooks:endpoint", endpoint_id)
    status = 422 if request.method == "POST" else 200
    return render(request, "webhooks/edit.html", {"endpoint": changed, "form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
@limited("other")
def rotate(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Asks first; the answer that rotates is the only one that shows the new secret."""
    rotated = queries.endpoint_of(principal_of(request).user, endpoint_id)
    if request.method != "POST":
        return render(request, "webhooks/rotate.html", {"endpoint": rotated})
    try:
        return _page(request, rotated, services.rotate(rotated))
    except Conflict as error:
        messages.error(request, error.detail)
        return redirect("webhooks:endpoint", endpoint_id)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@limited("other")
def delete(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Asks before a webhook and its log are deleted; it cannot be undone."""
    deleted = queries.endpoint_of(principal_of(request).user, endpoint_id)
    if request.method != "POST":
        return render(request, "webhooks/delete.html", {"endpoint": deleted})
    services.delete(deleted)
    messages.success(request, f"The webhook to {deleted.host} is deleted.")
    return redirect("webhooks:list")


@require_POST
@login_required
@limited("other")
def enable(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    services.enable(queries.endpoint_of(principal_of(request).user, endpoint_id))
    messages.success(request, "Enabled. Events from now on are sent to it.")
    return redirect("webhooks:endpoint", endpoint_id)


@require_POST
@login_required
@limited("other")
def disable(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    services.disable(queries.endpoint_of(principal_of(request).user, endpoint_id))
    messages.success(request, "Disabled. Nothing is sent to it until you enable it again.")
    return redirect("webhooks:endpoint", endpoint_id)


@require_POST
@login_required
@limited("other")
def test(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Sends a test event, and shows it in the log."""
    try:
        services.test(queries.endpoint_of(principal_of(request).user, endpoint_id))
    except Conflict as error:
        messages.error(request, error.detail)
    return redirect("webhooks:endpoint", endpoint_id)


@require_safe
@login_required
@never_cache
def delivery(request: HttpRequest, endpoint_id: UUID, delivery_id: UUID) -> HttpResponse:
    """One delivery: what was sent, and how each attempt went."""
    shown = queries.delivery_of(principal_of(request).user, endpoint_id, delivery_id)
    context = {
        "delivery": shown,
        "endpoint": shown.endpoint,
        "attempts": shown.tried.all(),
        "body": json.dumps(json.loads(shown.body), indent=2, ensure_ascii=False),
    }
    return render(request, "webhooks/delivery.html", context)


@require_POST
@login_required
@limited("other")
def send_again(request: HttpRequest, endpoint_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Queues the delivery once more, and goes back to the log."""
    try:
        services.send_again(queries.delivery_of(principal_of(request).user, endpoint_id, delivery_id))
    except Conflict as error:
        messages.error(request, error.detail)
    return redirect("webhooks:endpoint", endpoint_id)

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from webapp.accounts.models import User
from webapp.errors import Conflict, InvalidInput
from webapp.keys import limits, services
from webapp.keys.forms import CreateKeyForm, KeyForm, RotateForm
from webapp.keys.limits import limited
from webapp.keys.principal import principal_of
from webapp.keys.queries import key_of, keys_of, owners_for
from webapp.network import client_network

IN_DIALOG = "asking_%s"  # ids of fields that a script shows on the list, beside those of the form for a new key


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """The keys a person looks after and the form for another. The answer that makes a key alone shows it, once.

    Like the pages that end a key, the list counts in no limit: a key that has used up its owner's must not keep them
    from ending it.
    """
    if request.method != "POST":
        return _list(request)
    limits.charge(request, principal_of(request), "other")
    form = _create_form(request, request.POST)
    new_key = _create(form, principal_of(request).user)
    return _list(request, new_key=new_key, status=201) if new_key else _list(request, form=form, status=422)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited("other")
def change(request: HttpRequest, key_id: int) -> HttpResponse:
    """Another name, other networks."""
    key = key_of(principal_of(request).user, key_id)
    before = {"name": key.name, "networks": "\n".join(key.network_list)}
    form = KeyForm(request.POST or None, initial=before, auto_id=IN_DIALOG, address=client_network(request))
    if request.method == "POST" and form.is_valid():
        try:
            services.change(key, name=form.cleaned_data["name"], networks=form.cleaned_data["networks"])
        except InvalidInput as error:
            _say_in(form, error)
        else:
            messages.success(request, f"“{key.name}” is changed.")
            return redirect("keys:list")
    status = 422 if form.errors else 200
    return render(request, "keys/change.html", {"key": key, "form": form, "title": before["name"]}, status=status)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited("other")
def rotate(request: HttpRequest, key_id: int) -> HttpResponse:
    """Says what a rotation will do, and does it. As with a new key, the answer to that alone shows the secret."""
    key = key_of(principal_of(request).user, key_id)
    form = RotateForm(request.POST or None, auto_id=IN_DIALOG, key=key)
    if request.method != "POST" or not form.is_valid():
        context = {"key": key, "form": form}
        return render(request, "keys/rotate.html", context, status=422 if form.errors else 200)
    try:
        new_key = services.rotate(
            key,
            seen=form.cleaned_data["seen"],
            overlap=form.chosen_overlap(),
            expires_at=form.expires_at(),
            by=principal_of(request).user,
        )
    except Conflict as conflict:
        messages.error(request, conflict.detail)
        return redirect("keys:list")
    return _list(request, new_key=new_key, rotated=True, status=201)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def end_old(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks before old secrets of a key end earlier than was promised."""
    key = key_of(principal_of(request).user, key_id)
    if request.method != "POST":
        return render(request, "keys/end_old.html", {"key": key})
    if services.end_old_secrets(key):
        messages.success(request, f"Only the newest secret of “{key.name}” works from now on.")
    else:
        messages.info(request, f"“{key.name}” had no old secret any more.")
    return redirect("keys:list")


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks before a key is revoked; it cannot be undone."""
    key = key_of(principal_of(request).user, key_id)
    if request.method != "POST":
        return render(request, "keys/revoke.html", {"key": key})
    if services.revoke(key, by=principal_of(request).user):
        messages.success(request, f"“{key.name}” is revoked. Requests with it are refused from now on.")
    else:
        messages.info(request, f"“{key.name}” was revoked before.")
    return redirect("keys:list")


def _list(
    request: HttpRequest,
    *,
    form: CreateKeyForm | None = None,
    new_key: services.NewKey | None = None,
    rotated: bool = False,
    status: int = 200,
) -> HttpResponse:
    """The page. form: with what was wrong in it, else an empty one; new_key: made just now, or its secret was."""
    form = form or _create_form(request)
    context = {
        "keys": keys_of(principal_of(request).user),
        "form": form,
        "new_key": new_key,
        "rotated": rotated,
        "has_services": "owner" in form.fields,
    }
    return render(request, "keys/list.html", context, status=status)


def _create_form(request: HttpRequest, data: object = None) -> CreateKeyForm:
    return CreateKeyForm(data, owners=owners_for(principal_of(request).user), address=client_network(request))


def _create(form: CreateKeyForm, by: User) -> services.NewKey | None:
    """The new key; None, with the reasons in the form, when what was chosen will not do."""
    if not form.is_valid():
        return None
    try:
        return services.create(
            form.chosen_owner(),
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.expires_at(),
            networks=form.cleaned_data["networks"],
            by=by,
        )
    except InvalidInput as error:
        _say_in(form, error)
        return None


def _say_in(form: forms.Form, error: InvalidInput) -> None:
    form.add_error(error.field if error.field in form.fields else None, error.detail)

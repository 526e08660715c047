from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from webapp.errors import InvalidInput
from webapp.keys import services
from webapp.keys.forms import CreateKeyForm
from webapp.keys.limits import limited
from webapp.keys.principal import principal_of
from webapp.keys.queries import key_of, keys_of


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited("other")
def keys(request: HttpRequest) -> HttpResponse:
    """The person's keys and the form for another. The answer that makes a key is the only one that ever shows it."""
    user = principal_of(request).user
    form = CreateKeyForm(request.POST or None, user=user)
    new_key, status = None, 200
    if request.method == "POST":
        new_key, status = _create(request, form), 201
        if new_key is None:
            status = 422
        else:
            form = CreateKeyForm(user=user)
    context = {"keys": keys_of(user), "form": form, "new_key": new_key}
    return render(request, "keys/list.html", context, status=status)


def _create(request: HttpRequest, form: CreateKeyForm) -> services.NewKey | None:
    """The new key; None, with the reasons in the form, when what was chosen will not do."""
    if not form.is_valid():
        return None
    try:
        return services.create(
            principal_of(request).user,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.expires_at(),
        )
    except InvalidInput as error:
        form.add_error(error.field if error.field in form.fields else None, error.detail)
        return None


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited("other")
def revoke(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks before a key is revoked; it cannot be undone."""
    key = key_of(principal_of(request).user, key_id)
    if request.method != "POST":
        return render(request, "keys/revoke.html", {"key": key})
    if services.revoke(key):
        messages.success(request, f"“{key.name}” is revoked. Requests with it are refused from now on.")
    else:
        messages.info(request, f"“{key.name}” was revoked before.")
    return redirect("keys:list")

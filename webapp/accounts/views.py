from allauth.core import ratelimit
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from webapp.accounts import roles, services
from webapp.accounts.forms import DeleteAccountForm, ProfileForm
from webapp.accounts.models import User
from webapp.errors import RateLimited


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    # The form writes what was typed into its instance, valid or not: the page shows the person as saved.
    form = ProfileForm(request.POST or None, instance=User.objects.get(pk=user.pk))
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("accounts:profile")
    return render(request, "accounts/profile.html", {"form": form, "user": user}, status=422 if form.errors else 200)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    """Deletes the account after the password was given once more.

    Guesses count with those at allauth's own page that asks for the password again: neither helps the other.
    """
    user = _person(request)
    if request.method == "POST" and not ratelimit.consume(request, action="reauthenticate"):
        raise RateLimited("You have tried too many passwords. Wait a minute.", retry_after=60)
    form = DeleteAccountForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.delete(user)
        logout(request)
        messages.success(request, "Your account is deleted, with its API keys and history.")
        return redirect("home")
    return render(request, "accounts/delete.html", {"form": form}, status=422 if form.errors else 200)


@require_safe
@login_required
@never_cache
def second_factor(request: HttpRequest) -> HttpResponse:
    """Why the admin asks for a second factor, and the way there. Where one was going is kept for afterwards."""
    back_to = request.GET.get("next", "")
    if url_has_allowed_host_and_scheme(back_to, allowed_hosts=None):
        request.session[roles.BACK_TO] = back_to
    return render(request, "accounts/second_factor.html", {"has_one": roles.has_second_factor(_person(request))})


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required has seen to it
    return request.user

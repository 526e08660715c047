from allauth.core import ratelimit
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from webapp.accounts import services
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


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required has seen to it
    return request.user

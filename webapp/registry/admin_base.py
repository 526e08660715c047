"""What the model pages in admin share: whom they are for, which model they are about, and their frame."""

from collections.abc import Mapping
from typing import ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views import View

from webapp.accounts.models import User
from webapp.accounts.roles import may_see_history
from webapp.errors import AppError, NotAllowed, NotFound
from webapp.registry.models import ScoringModel, Version

# What a person lacks, in the words of the groups that have it.
_LACKING = {
    "view_scoringmodel": "look at models; ask for the group viewer",
    "operate_scoringmodel": "operate models; ask for the group operator",
    "register_version": "register versions; ask for the group admin",
    "change_scoringmodel": "change a model’s settings; ask for the group admin",
    "add_scoringmodel": "add models; ask for the group admin",
    "delete_artifact": "delete files of versions; ask for the group admin",
}


def may(request: HttpRequest, permission: str) -> bool:
    """Whether the person has that permission on models."""
    return request.user.has_perm(f"registry.{permission}")


def demand(request: HttpRequest, permission: str) -> None:
    if not may(request, permission):
        raise NotAllowed(f"You may not {_LACKING[permission]}.")


def add_errors(form: forms.BaseForm, error: AppError) -> None:
    """Puts what a service refuses to the fields that it names, else over the form."""
    for name, detail in (error.fields or {error.field or "": error.detail}).items():
        form.add_error(name if name in form.fields else None, detail)


class AdminPage(View):
    """A page of the admin. `permission` is what one needs to open it, whatever the method."""

    permission: ClassVar[str] = "view_scoringmodel"

    def dispatch(self, request: HttpRequest, *args: str, **names: str) -> HttpResponseBase:
        demand(request, self.permission)
        self.find(**names)
        return self.handle(request, *args, **names)

    def handle(self, request: HttpRequest, *args: str, **names: str) -> HttpResponseBase:
        """What comes once the person's right and the page's subject are known."""
        return super().dispatch(request, *args, **names)

    def find(self, **_names: str) -> None:
        """Looks up what the page is about. Raises NotFound."""

    @property
    def person(self) -> User:
        assert isinstance(self.request.user, User)  # `demand` let nobody else through
        return self.request.user

    def page(self, template: str, context: Mapping[str, object], *, status: int = 200) -> HttpResponse:
        """The template in the frame of the admin, with what the person may do."""
        whole = {**admin.site.each_context(self.request), **self.rights(), **context}
        return render(self.request, template, whole, status=status)

    def rights(self) -> dict[str, bool]:
        """Which buttons and parts the person sees."""
        return {
            "may_add": may(self.request, "add_scoringmodel"),
            "may_operate": may(self.request, "operate_scoringmodel"),
            "may_register": may(self.request, "register_version"),
            "may_change": may(self.request, "change_scoringmodel"),
            "may_delete": may(self.request, "delete_artifact"),
            "may_see_history": may_see_history(self.request.user),
        }


class ModelView(AdminPage):
    """About the model that the address names."""

    model: ScoringModel

    def find(self, **names: str) -> None:
        found = ScoringModel.objects.filter(name=names["name"]).first()
        if found is None:
            raise NotFound(f"There is no model named “{names['name']}”.")
        self.model = found

    def page(self, template: str, context: Mapping[str, object], *, status: int = 200) -> HttpResponse:
        return super().page(template, {"model": self.model, **context}, status=status)


class VersionView(ModelView):
    """About the version that the address names."""

    version: Version

    def find(self, **names: str) -> None:
        super().find(**names)
        found = self.model.versions.select_related("model", "registered_by").filter(name=names["version"]).first()
        if found is None:
            raise NotFound(f"{self.model.label} has no version “{names['version']}”.")
        self.version = found

    def page(self, template: str, context: Mapping[str, object], *, status: int = 200) -> HttpResponse:
        return super().page(template, {"version": self.version, **context}, status=status)

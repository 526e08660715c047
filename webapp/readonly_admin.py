"""Pages of the admin on which there is only something to read."""

from typing import TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

M = TypeVar("M", bound=Model)


class ReadOnlyAdmin(admin.ModelAdmin[M]):
    """Whatever somebody's rights are, nothing is added, changed or deleted here."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: M | None = None) -> bool:
        return False

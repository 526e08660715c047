from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from webapp.registry.models import ScoringModel


@admin.register(ScoringModel)
class ScoringModelAdmin(admin.ModelAdmin[ScoringModel]):
    """Stands in the admin's lists and leads to our own pages (admin_urls.py). Models are never deleted."""

    def changelist_view(self, _request: HttpRequest, extra_context: object = None) -> HttpResponse:
        return redirect("models:list")

    def add_view(self, _request: HttpRequest, form_url: str = "", extra_context: object = None) -> HttpResponse:
        return redirect("models:list")

    def change_view(
        self, _request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return redirect("models:model", get_object_or_404(ScoringModel, pk=object_id).name)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: object = None) -> HttpResponse:
        return self.change_view(request, object_id)

    def has_delete_permission(self, _request: HttpRequest, _obj: ScoringModel | None = None) -> bool:
        return False

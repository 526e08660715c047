from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from webapp.batch import services
from webapp.batch.models import Job
from webapp.errors import Conflict


@admin.register(Job)
class JobAdmin(admin.ModelAdmin[Job]):
    """Jobs can be looked at, and cancelled. What was asked and answered lies in files that the admin does not show."""

    list_display = ("id", "owner", "kind", "state", "total", "completed", "failed", "model", "created_at", "ended_at")
    list_filter = ("state", "kind", "model")
    list_select_related = ("owner",)
    search_fields = ("id", "owner__email")
    fields = readonly_fields = (
        "id", "owner", "key", "kind", "format", "size", "collection", "model", "version", "top_k", "state", "reason",
        "problem", "total", "completed", "failed", "retry_of", "created_at", "started_at", "in_progress_at",
        "finalizing_at", "cancelling_at", "ended_at", "expires_at", "kept_until", "deleted_at",
    )  # fmt: skip
    actions = ("cancel_selected",)

    @admin.action(description="Cancel selected jobs", permissions=["change"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        count = 0
        for job in queryset:
            try:
                services.cancel(job)
                count += 1
            except Conflict:  # it has ended
                continue
        self.message_user(request, f"{count} cancelled.")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Job | None = None) -> bool:
        return False

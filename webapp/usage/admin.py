from django.contrib import admin
from django.http import HttpRequest

from webapp.usage.models import ScoringRecord


@admin.register(ScoringRecord)
class ScoringRecordAdmin(admin.ModelAdmin[ScoringRecord]):
    """What was scored: to read, or to delete for somebody who asks. What they asked and were answered is not shown."""

    list_display = ("created_at", "user", "kind", "source", "model", "version", "outcome", "duration_ms")
    list_filter = ("kind", "source", "outcome", "model")
    search_fields = ("user__email", "request_id")
    date_hierarchy = "created_at"
    list_select_related = ("user",)
    exclude = ("subject", "answer")
    show_full_result_count = False  # counting every row costs more than the page

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: ScoringRecord | None = None) -> bool:
        return False

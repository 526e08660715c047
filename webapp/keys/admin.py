from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from webapp.keys import services
from webapp.keys.models import ApiKey


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Keys can be looked at, and revoked; only their owner can make one. The digest is never shown."""

    list_display = ("name", "public_part", "owner", "scope", "state", "last_used_at", "expires_at", "created_at")
    list_filter = ("revoked_at", "expires_at")
    list_select_related = ("owner",)
    search_fields = ("name", "prefix", "owner__email")
    fields = readonly_fields = (
        "name", "public_part", "owner", "scope", "state", "created_at", "last_used_at", "expires_at", "revoked_at",
    )  # fmt: skip
    actions = ("revoke_selected",)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = sum(services.revoke(key) for key in queryset)
        self.message_user(request, f"{count} revoked.")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

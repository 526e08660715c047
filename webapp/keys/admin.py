from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from webapp.accounts.models import User
from webapp.keys import services
from webapp.keys.models import ApiKey, KeySecret


class SecretInline(admin.TabularInline[KeySecret, ApiKey]):
    """The secrets of a key, by what may be seen of them: when they were made and used, and their last characters."""

    model = KeySecret
    fields = readonly_fields = ("created_at", "last_used_at", "ends_at")  # above each stands how it ends
    ordering = ("-created_at",)
    extra = 0
    can_delete = False

    def has_add_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, _obj: Any = None) -> bool:
        return request.user.has_perm("keys.view_apikey")  # whoever may see the key; no right of its own

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Keys can be looked at, and revoked; only their owner can make one. The digests are never shown."""

    list_display = (
        "name", "public_part", "owner", "scope", "networks", "state", "last_used_at", "last_used_from", "expires_at",
    )  # fmt: skip
    list_filter = ("owner__is_service", "revoked_at", "expires_at")
    list_select_related = ("owner",)
    search_fields = ("name", "prefix", "owner__email", "owner__name", "networks", "last_used_from")
    fields = readonly_fields = (
        "name", "public_part", "owner", "scope", "networks", "state", "created_at", "last_used_at", "last_used_from",
        "refused_at", "refused_from", "expires_at", "revoked_at",
    )  # fmt: skip
    inlines = (SecretInline,)
    actions = ("revoke_selected", "end_old_secrets")

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        by = request.user if isinstance(request.user, User) else None
        count = sum(services.revoke(key, by=by) for key in queryset)
        self.message_user(request, f"{count} revoked.")

    @admin.action(description="End the old secrets of selected keys", permissions=["change"])
    def end_old_secrets(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = sum(services.end_old_secrets(key) for key in queryset)
        self.message_user(request, f"{count} ended.")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Without the buttons that save: nothing can be changed here."""
        no_buttons = {"show_save": False, "show_save_and_continue": False}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **no_buttons})

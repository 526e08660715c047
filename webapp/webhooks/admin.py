from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from webapp.webhooks import services
from webapp.webhooks.models import Endpoint


@admin.register(Endpoint)
class EndpointAdmin(admin.ModelAdmin[Endpoint]):
    """Webhooks can be looked at, and disabled; the rest is up to their owner.

    Of an address only the host is shown: the rest of it may be a secret, as what is sent there is.
    """

    list_display = ("host", "owner", "state", "disabled", "failing_since", "created_at")
    list_filter = ("disabled", "failing_since", "owner__is_service")
    list_select_related = ("owner",)
    search_fields = ("owner__email", "owner__name")
    fields = readonly_fields = (
        "host", "owner", "description", "events", "state", "disabled", "disabled_at", "failing_since", "created_at",
    )  # fmt: skip
    actions = ("disable_selected",)

    @admin.action(description="Disable selected webhooks", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        count = sum(services.disable(endpoint, Endpoint.Reason.ADMIN) for endpoint in queryset)
        self.message_user(request, f"{count} disabled. Their owners are told by mail, and can enable them again.")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Endpoint | None = None) -> bool:
        return False

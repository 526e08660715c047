import json

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from webapp.audit.models import SecurityEvent


@admin.register(SecurityEvent)
class SecurityEventAdmin(admin.ModelAdmin[SecurityEvent]):
    """The security log, to be read and searched; nobody writes or deletes here."""

    list_display = ("at", "kind", "account", "actor", "about", "network")
    list_filter = ("kind", "at")
    date_hierarchy = "at"
    search_fields = ("account", "actor", "about", "network", "request_id")
    search_help_text = "An e-mail address, the public part of a key, a network or a request id"
    fields = readonly_fields = ("at", "kind", "account", "actor", "about", "network", "request_id", "shown_details")
    list_per_page = 50

    @admin.display(description="Details")
    def shown_details(self, event: SecurityEvent) -> str:
        return format_html("<pre>{}</pre>", json.dumps(event.details, indent=2, ensure_ascii=False))

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: SecurityEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: SecurityEvent | None = None) -> bool:
        return False

import json

from django.contrib import admin
from django.utils.html import format_html

from webapp.audit.models import SecurityEvent
from webapp.readonly_admin import ReadOnlyAdmin


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin[SecurityEvent]):
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

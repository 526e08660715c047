from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.errors import InvalidInput
from webapp.faq import services
from webapp.faq.models import Collection, Entry, Revision
from webapp.keys.principal import principal_of
from webapp.readonly_admin import ReadOnlyAdmin


class CollectionForm(forms.ModelForm[Collection]):
    """Its model is named after it unless somebody says otherwise, and is put into the registry if it is not there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model_name" in self.fields:
            self.fields["model_name"].required = False
            self.fields["model_name"].help_text += " Left empty: faq- and the slug."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not cleaned.get("model_name") and cleaned.get("slug"):
            cleaned["model_name"] = f"faq-{cleaned['slug']}"
        if cleaned.get("visibility") == Collection.Visibility.GROUPS and not cleaned.get("groups"):
            self.add_error("groups", "Choose the groups whose members may ask, or let others ask, too.")
        if cleaned.get("model_name"):
            try:
                services.require_faq_model(cleaned["model_name"])
            except InvalidInput as error:
                self.add_error("model_name", error.detail)
        return cleaned


@admin.register(Collection)
class CollectionAdmin(admin.ModelAdmin[Collection]):
    form = CollectionForm
    list_display = ("name", "slug", "language", "visibility", "model_name", "is_default")
    list_filter = ("visibility", "language")
    prepopulated_fields = {"slug": ("name",)}
    filter_horizontal = ("groups",)
    autocomplete_fields = ("editors",)
    fields = (
        *("name", "slug", "description", "language", "visibility", "groups", "editors"),
        *("keeps_questions", "kept_days", "model_name", "is_default"),
    )

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Entries go with their collection, though nobody deletes them one by one here."""
        deleted, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, forbidden - {str(Entry._meta.verbose_name)}, protected

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Collection, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        services.register_model(obj, by=principal_of(request).user)


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin[Entry]):
    """To look through the entries of all collections. They are changed on the site, where each change is kept."""

    list_display = ("external_id", "question", "state", "collection", "changed_at", "edit_on_site")
    list_filter = ("collection", "state")
    list_select_related = ("collection",)
    search_fields = ("external_id", "question", "answer")
    readonly_fields = ("external_id", "version", "created_at", "changed_at", "edit_on_site")

    @admin.display(description="")
    def edit_on_site(self, entry: Entry) -> SafeString:
        address = reverse("faq:entry", args=[entry.collection.slug, entry.pk])
        return format_html('<a href="{}">Edit on the site</a>', address)


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin[Revision]):
    """The history of all entries, as nobody can alter it."""

    list_display = ("at", "kind", "external_id", "version", "collection_id", "actor")
    list_filter = ("kind",)
    search_fields = ("external_id", "actor")
    date_hierarchy = "at"

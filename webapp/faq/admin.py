from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest

from webapp.errors import InvalidInput
from webapp.faq import services
from webapp.faq.models import Collection, Entry, Phrasing
from webapp.keys.principal import principal_of


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
    fields = ("name", "slug", "description", "language", "visibility", "groups", "model_name", "is_default")

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Collection, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        services.register_model(obj, by=principal_of(request).user)


class PhrasingInline(admin.TabularInline[Phrasing, Entry]):
    model = Phrasing
    extra = 0


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin[Entry]):
    list_display = ("external_id", "question", "collection")
    list_filter = ("collection",)
    list_select_related = ("collection",)
    search_fields = ("external_id", "question", "answer")
    inlines = (PhrasingInline,)

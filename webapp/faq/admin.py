from django.contrib import admin

from webapp.faq.models import Collection, Entry, Phrasing


@admin.register(Collection)
class CollectionAdmin(admin.ModelAdmin[Collection]):
    list_display = ("name", "slug", "model_name", "is_default")
    prepopulated_fields = {"slug": ("name",)}


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

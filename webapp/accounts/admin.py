from typing import Any, TypeVar

import allauth.mfa.admin  # its pages have to be there before they can be taken off, below
import allauth.socialaccount.admin
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from webapp.accounts import services
from webapp.accounts.models import Plan, ServiceAccount, User
from webapp.audit.recording import Kind, record
from webapp.errors import InvalidInput

U = TypeVar("U", bound=User)


class PeopleAdmin(admin.ModelAdmin[U]):
    """What the pages of persons and of service accounts share."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes with them. Of that, batches and webhooks cannot be deleted in the admin by themselves: whoever may
        delete a person may still delete what is theirs.
        """
        going, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        people = {model._meta.verbose_name for model in (User, ServiceAccount)}
        return going, counts, forbidden & people, protected


class AddUserForm(AdminUserCreationForm[User]):
    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(PeopleAdmin[User], DjangoUserAdmin[User]):
    """People. Django's own page, without the user name, and without a way up: only a superuser makes or changes one."""

    add_form = AddUserForm
    ordering = ("email",)
    list_display = ("email", "name", "role", "plan", "is_active", "last_login")
    list_filter = ("plan", "groups", "is_superuser", "is_active")
    list_select_related = ("plan",)
    search_fields = ("email", "name")
    readonly_fields = ("last_login", "date_joined")
    only_by_superusers = ("is_staff", "is_superuser")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Profile", {"fields": ("name",)}),
        ("What they may use", {"fields": ("plan",)}),
        ("Rights", {"fields": ("is_active", "groups", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).filter(is_service=False).prefetch_related("groups")

    @admin.display(description="Role")
    def role(self, user: User) -> str:
        return user.role

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002  # Django's name
        answer = super().user_change_password(request, id, form_url)
        if request.method == "POST" and answer.status_code == 302:
            record(Kind.PASSWORD_CHANGED, account=User.objects.get(pk=id))
        return answer

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "groups":
            options["widget"] = forms.CheckboxSelectMultiple
            options["help_text"] = (
                "A viewer sees models and pods. An operator also checks, promotes, tries out, rolls back and retires "
                "versions. An admin also registers versions, changes settings and looks after people, keys and the FAQ."
            )
        return super().formfield_for_manytomany(db_field, request, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return (*self.readonly_fields, *(() if _is_superuser(request) else self.only_by_superusers))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    return user is None or not user.is_superuser or _is_superuser(request)


class ServiceAccountForm(forms.ModelForm[ServiceAccount]):
    class Meta:
        model = ServiceAccount
        fields = ("name", "responsible", "plan", "is_active")
        help_texts = {
            "name": "What it is for, such as “Support bot”. Shown in lists and in the history.",
            "is_active": "Without this, no key of it opens anything.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].required = True
        responsible = self.fields["responsible"]
        if isinstance(responsible, forms.ModelChoiceField):
            responsible.required = True
            responsible.queryset = User.objects.filter(is_service=False, is_active=True).order_by("email")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.instance._state.adding and not self.errors:
            try:
                services.address_of_service(cleaned["name"])
            except InvalidInput as error:
                self.add_error(error.field, error.detail)
        return cleaned


@admin.register(ServiceAccount)
class ServiceAccountAdmin(PeopleAdmin[ServiceAccount]):
    """Owners of keys that are no persons. Their keys are made on the keys page of the person responsible."""

    form = ServiceAccountForm
    ordering = ("name",)
    list_display = ("name", "email", "responsible", "plan", "is_active", "date_joined")
    list_filter = ("is_active",)
    list_select_related = ("responsible", "plan")
    search_fields = ("name", "email", "responsible__email")
    readonly_fields = ("email", "date_joined")
    fields = ("name", "email", "responsible", "plan", "is_active", "date_joined")

    def get_fields(self, request: HttpRequest, obj: ServiceAccount | None = None) -> Any:
        return self.fields if obj else ("name", "responsible")

    def save_model(self, request: HttpRequest, obj: ServiceAccount, form: Any, change: bool) -> None:
        if change:
            obj.save()
            return
        made = services.make_service_account(form.cleaned_data["name"], form.cleaned_data["responsible"])
        obj.pk = made.pk
        obj.refresh_from_db()


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin[Plan]):
    """Plans, and who has them. People get theirs on their own page."""

    list_display = ("name", "people_count", "month_requests_per_user", "month_rows_per_user")
    search_fields = ("name",)
    readonly_fields = ("who_has_it",)
    fieldsets = (
        (None, {"fields": ("name", "who_has_it")}),
        (
            "In any minute",
            {
                "fields": (
                    ("requests_per_key", "requests_per_user"),
                    ("faq_per_key", "faq_per_user"),
                    ("images_per_key", "images_per_user"),
                    ("other_per_key", "other_per_user"),
                ),
                "description": "Every request counts in the first line, and besides by what it asks for: by questions, "
                "by pictures, or as another request. A person’s limit counts the pages and all their keys together. "
                "Empty: as the settings of the site have it.",
            },
        ),
        (
            "In a calendar month (UTC)",
            {
                "fields": (
                    ("month_requests_per_user", "month_rows_per_user"),
                    ("month_requests_per_key", "month_rows_per_key"),
                ),
                "description": "Requests that score something, and rows: the questions and pictures in them and in "
                "batch jobs. What is answered with an error does not count. Empty: no quota.",
            },
        ),
        (
            "Batch jobs",
            {
                "fields": ("batch_open_jobs", "batch_rows", "batch_bytes"),
                "description": "Of one person. Empty: as the settings of the site have it.",
            },
        ),
    )
    SHOWN = 100  # people

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        return super().get_queryset(request).annotate(people_count=Count("people"))

    @admin.display(description="People", ordering="people_count")
    def people_count(self, plan: Plan) -> int:
        count: int = plan.people_count  # type: ignore[attr-defined]  # annotated above
        return count

    @admin.display(description="Who has it")
    def who_has_it(self, plan: Plan) -> str:
        if plan._state.adding:
            return "Nobody yet. Choose the plan on a person’s page."
        people = plan.people.order_by("email")
        links = [(_page_of(person), person.email) for person in people[: self.SHOWN]]
        if not links:
            return "Nobody. Choose the plan on a person’s page."
        more = max(0, people.count() - self.SHOWN)
        listed = format_html_join(", ", '<a href="{}">{}</a>', links)
        return format_html("{} and {} more", listed, more) if more else listed


def _page_of(user: User) -> str:
    """The address of their page in the admin."""
    return reverse(f"admin:accounts_{'serviceaccount' if user.is_service else 'user'}_change", args=[user.pk])


# Django's own page has two boxes to move permissions between, which a screen reader cannot make out.
admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin):
    filter_horizontal = ()


# Providers stand in the settings, and no token of theirs is kept.
for model in (allauth.socialaccount.admin.SocialApp, allauth.socialaccount.admin.SocialToken):
    admin.site.unregister(model)
admin.site.unregister(SocialAccount)


@admin.register(SocialAccount)
class SocialAccountAdmin(admin.ModelAdmin[SocialAccount]):
    """Who signs in with the organisation's identity provider: to be seen, and to be taken apart."""

    list_display = ("user", "provider", "uid", "last_login")
    list_select_related = ("user",)
    search_fields = ("user__email", "uid")
    fields = readonly_fields = ("user", "provider", "uid", "last_login", "date_joined")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: SocialAccount | None = None) -> bool:
        return False


# allauth's own page shows the secret from which the codes are made.
admin.site.unregister(allauth.mfa.admin.Authenticator)


@admin.register(Authenticator)
class AuthenticatorAdmin(admin.ModelAdmin[Authenticator]):
    """Second factors: to see who has one, and to take it off for somebody whose phone is lost."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("user__email",)
    fields = readonly_fields = ("user", "type", "created_at", "last_used_at")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Authenticator | None = None) -> bool:
        return False

from typing import ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager, Group
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.functional import cached_property

# Of service accounts' addresses. Reserved (RFC 2606): no such domain will ever exist.
SERVICE_DOMAIN = "service.invalid"


class Role(models.TextChoices):
    """The groups that a migration makes (registry 0003). Each may what the one before it may."""

    VIEWER = "viewer", "Viewer"  # sees pods, models and their history
    OPERATOR = "operator", "Operator"  # checks, promotes, tries out, rolls back and retires versions
    ADMIN = "admin", "Admin"  # registers versions, changes settings, looks after people, keys and collections


class Plan(models.Model):
    """What each of the people who have it may use.

    Left empty, a limit of a minute or of batch jobs is as the settings of the site have it; one of a month is none.
    """

    name = models.CharField(max_length=80, unique=True, help_text="As people read it on their account page.")
    requests_per_key = models.PositiveIntegerField("requests a minute and key", null=True, blank=True)
    requests_per_user = models.PositiveIntegerField("requests a minute and person", null=True, blank=True)
    faq_per_key = models.PositiveIntegerField("questions a minute and key", null=True, blank=True)
    faq_per_user = models.PositiveIntegerField("questions a minute and person", null=True, blank=True)
    images_per_key = models.PositiveIntegerField("pictures a minute and key", null=True, blank=True)
    images_per_user = models.PositiveIntegerField("pictures a minute and person", null=True, blank=True)
    other_per_key = models.PositiveIntegerField("other requests a minute and key", null=True, blank=True)
    other_per_user = models.PositiveIntegerField("other requests a minute and person", null=True, blank=True)
    month_requests_per_key = models.PositiveBigIntegerField("requests a month and key", null=True, blank=True)
    month_requests_per_user = models.PositiveBigIntegerField("requests a month and person", null=True, blank=True)
    month_rows_per_key = models.PositiveBigIntegerField("rows a month and key", null=True, blank=True)
    month_rows_per_user = models.PositiveBigIntegerField("rows a month and person", null=True, blank=True)
    batch_open_jobs = models.PositiveIntegerField("open batch jobs", null=True, blank=True)
    batch_rows = models.PositiveIntegerField("rows of a batch job", null=True, blank=True)
    batch_bytes = models.PositiveBigIntegerField(
        "bytes stored by batch jobs", null=True, blank=True, help_text="Uploads that are kept, all jobs together."
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Creates people; the e-mail address is what identifies them."""

    def get_queryset(self) -> models.QuerySet["User"]:
        """People, each with whether they have a role: the menu of every page asks for it."""
        held = Group.objects.filter(user=models.OuterRef("pk"), name__in=Role.values)
        return super().get_queryset().annotate(has_role=models.Exists(held))  # type: ignore[no-redef]  # as meant: it is kept there

    def create_user(self, email: str, password: str | None = None, **extra: object) -> "User":
        user = self.model(email=self.normalize_email(email), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: object) -> "User":
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **extra})


class User(AbstractUser):
    """A person. Signs in with the e-mail address; there is no user name.

    Or a service account, which owns API keys and what is done with them, and never signs in: a person is responsible
    for it, looks after its keys and gets its mails. Its address is a name only; nothing can be delivered there.
    """

    username = None  # type: ignore[assignment]  # Django's way to leave the field out
    first_name = None  # type: ignore[assignment]  # one `name` serves every culture
    last_name = None  # type: ignore[assignment]  # likewise
    name = models.CharField(max_length=120, blank=True)
    email = models.EmailField("e-mail address", unique=True)
    is_service = models.BooleanField("service account", default=False, editable=False)
    responsible = models.ForeignKey(
        "self",
        models.PROTECT,  # hand the service account over first
        null=True,
        blank=True,
        related_name="service_accounts",
        help_text="Looks after the keys of the service account, and gets its mails.",
    )
    plan = models.ForeignKey(
        Plan,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="people",
        help_text="What the person may use. Without one, what the settings of the site say.",
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()  # type: ignore[misc,assignment]  # narrower than AbstractUser's, on purpose

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), name="one_user_per_email_whatever_its_case"),
            models.CheckConstraint(
                condition=Q(is_service=False, responsible=None) | Q(is_service=True, responsible__isnull=False),
                name="somebody_is_responsible_for_a_service",
            ),
            # "!" begins what no password ever fits.
            models.CheckConstraint(
                condition=Q(is_service=False) | Q(is_staff=False, is_superuser=False, password__startswith="!"),  # noqa: S106  # a look-up
                name="a_service_never_signs_in",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @cached_property
    def roles(self) -> frozenset[str]:
        """The names of the person's groups that are roles."""
        return frozenset(group.name for group in self.groups.all()) & frozenset(Role.values)

    @cached_property
    def has_role(self) -> bool:
        """Whether there is any. Read along with the person; worked out only of one who was made just now."""
        return bool(self.roles)

    @property
    def role(self) -> str:
        """What the person is in the admin, in one word; empty: nothing."""
        if self.is_superuser:
            return "Superuser"
        held = [str(role.label) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER) if role in self.roles]
        return held[0] if held else "Staff" if self.is_staff else ""

    @property
    def may_enter_admin(self) -> bool:
        return self.is_active and (self.is_staff or self.is_superuser or self.has_role)

    @property
    def mailbox(self) -> str:
        """Where mails about what is theirs go; empty: nobody reads them any more."""
        reader = self.responsible if self.is_service else self
        return reader.email if reader is not None and reader.is_active else ""

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name or self.email


class ServiceAccountManager(UserManager):
    def get_queryset(self) -> models.QuerySet[User]:
        return super().get_queryset().filter(is_service=True)


class ServiceAccount(User):
    """The users that are service accounts: a page of their own in the admin, and rights of their own."""

    objects = ServiceAccountManager()  # type: ignore[misc]  # as above

    class Meta:
        proxy = True

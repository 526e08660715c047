from typing import ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager, Group
from django.db import models
from django.db.models.functions import Lower
from django.utils.functional import cached_property


class Role(models.TextChoices):
    """The groups that a migration makes (registry 0003). Each may what the one before it may."""

    VIEWER = "viewer", "Viewer"  # sees pods, models and their history
    OPERATOR = "operator", "Operator"  # checks, promotes, tries out, rolls back and retires versions
    ADMIN = "admin", "Admin"  # registers versions, changes settings, looks after people, keys and collections


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
    """A person. Signs in with the e-mail address; there is no user name."""

    username = None  # type: ignore[assignment]  # Django's way to leave the field out
    first_name = None  # type: ignore[assignment]  # one `name` serves every culture
    last_name = None  # type: ignore[assignment]
    name = models.CharField(max_length=120, blank=True)
    email = models.EmailField("e-mail address", unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()  # type: ignore[misc,assignment]  # narrower than AbstractUser's, on purpose

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_per_email_whatever_its_case")]

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

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name or self.email

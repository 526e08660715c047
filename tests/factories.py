"""What tests start from: people and their keys, collections, models, history, pictures."""

from datetime import datetime, timedelta
from importlib import import_module
from io import BytesIO
from types import SimpleNamespace

from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from PIL import Image

from webapp.accounts.models import Plan, User
from webapp.accounts.services import make_service_account
from webapp.faq.models import Collection, Entry
from webapp.keys import services
from webapp.keys.models import ApiKey, Scope
from webapp.keys.networks import read
from webapp.keys.services import NewKey
from webapp.registry.models import ScoringModel, Version
from webapp.usage.models import ScoringRecord
from webapp.webhooks import sealing
from webapp.webhooks.models import Endpoint, EventType

PASSWORD = "correct horse battery"
WEBHOOK_SECRET = "whsec_" + "A" * 43 + "="


def make_user(email: str = "owner@example.com", *, verified: bool = True, **fields: object) -> User:
    """A person who can sign in with PASSWORD."""
    user = User.objects.create_user(email, PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=email, primary=True, verified=verified)
    return user


def make_admin(email: str = "admin@example.com") -> User:
    return make_user(email, is_staff=True, is_superuser=True)


def make_service(responsible: User, name: str = "Support bot") -> User:
    """A service account that the person is responsible for."""
    return make_service_account(name, responsible)


def make_roles() -> None:
    """What the migrations do that give the roles their rights."""
    editor = SimpleNamespace(connection=connection)
    import_module("webapp.registry.migrations.0003_roles").make_roles(apps, editor)
    for name in (
        "accounts.migrations.0003_service_account_rights",
        "accounts.migrations.0005_plan_rights",
        "webhooks.migrations.0002_rights",
        "batch.migrations.0002_rights",
        "usage.migrations.0007_admins_see_use",
        "audit.migrations.0003_rights",
    ):
        import_module(f"webapp.{name}").give_rights(apps, editor)


def make_member(role: str, email: str | None = None) -> User:
    """A person with that role in the admin: "viewer", "operator" or "admin"."""
    if not Group.objects.filter(name=role).exists():  # a test that flushed the database took them along
        make_roles()
    user = make_user(email or f"{role}@example.com")
    user.groups.add(Group.objects.get(name=role))
    return user


def make_key(
    owner: User,
    *scopes: str,
    name: str = "Script",
    expires_at: datetime | None = None,
    networks: str = "",
) -> NewKey:
    """A live key, for questions and pictures unless other scopes are named; `.secret` is what a client sends."""
    wanted = scopes or (Scope.FAQ.value, Scope.IMAGES.value)
    return services.create(owner, name=name, scopes=wanted, expires_at=expires_at, networks=read(networks))


def rotate_key(key: NewKey, overlap: timedelta = timedelta(days=1), expires_at: datetime | None = None) -> NewKey:
    """The key with a new secret; the one before works on for a day unless said otherwise."""
    current = ApiKey.objects.get(pk=key.key.pk).current_secret
    return services.rotate(key.key, seen=current.pk, overlap=overlap, expires_at=expires_at)


def bearer(key: NewKey | str) -> dict[str, str]:
    """The header that signs a request in: `client.get(path, headers=bearer(key))`."""
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.secret}"}


def make_plan(*people: User, name: str = "Team", **fields: object) -> Plan:
    """A plan with these limits, and the people who have it."""
    plan = Plan.objects.create(name=name, **fields)
    for person in people:
        person.plan = plan
        person.save(update_fields=["plan"])
    return plan


def make_collection(*questions: str, slug: str = "javascript", **fields: object) -> Collection:
    """A collection with an entry for each question: js-1, js-2 and so on, each answered by its number in bold."""
    collection = Collection.objects.create(
        **{"slug": slug, "name": "JavaScript", "model_name": "faq-javascript", "is_default": True, **fields}
    )
    for number, question in enumerate(questions or ("How do I copy an array?", "What is a closure?"), start=1):
        Entry.objects.create(
            collection=collection,
            external_id=f"js-{number}",
            answer_id=f"js-{number}-a",
            question=question,
            answer=f"Answer **{number}**",
            tags=["arrays"],
        )
    return collection


def make_model(name: str = "faq-javascript", **fields: object) -> ScoringModel:
    """A FAQ model of the CPU pods, unless the fields say otherwise."""
    return ScoringModel.objects.create(**{"name": name, "kind": "faq", "pool": "cpu", **fields})


def make_version(model: ScoringModel, name: str, role: str = "", **fields: object) -> Version:
    """A version that has passed its check, and has had its role, if any, since now."""
    now = timezone.now()
    serving = role in {Version.Role.CHAMPION, Version.Role.CANARY}
    fields.setdefault("state", Version.State.SERVING if serving else Version.State.READY)
    fields.setdefault("percent", 10 if role in {Version.Role.CANARY, Version.Role.SHADOW} else 0)
    fields.setdefault("ready_at", now if fields["state"] in {"ready", "serving"} else None)
    return Version.objects.create(model=model, name=name, role=role, role_since=now if role else None, **fields)


def make_record(user: User, **fields: object) -> ScoringRecord:
    """A question of the person, in their history."""
    return ScoringRecord.objects.create(
        user=user,
        **{"kind": "faq", "source": "page", "subject": "how to copy an array", "duration_ms": 5.0, **fields},
    )


def make_webhook(owner: User, *events: str, secret: str = WEBHOOK_SECRET, **fields: object) -> Endpoint:
    """An enabled endpoint of the person for all events, unless some are named. Nobody listens at its address."""
    wanted = " ".join(events or EventType.values)
    endpoint = Endpoint.objects.create(
        owner=owner, **{"url": "https://hooks.example.com/scorepod", "events": wanted, **fields}
    )
    endpoint.secrets.create(sealed=sealing.seal(secret))
    return endpoint


def picture(width: int = 8, height: int = 8, form: str = "PNG", name: str = "dog.png") -> SimpleUploadedFile:
    """A small picture as a browser sends it."""
    data = BytesIO()
    Image.new("RGB", (width, height), "white").save(data, form)
    return SimpleUploadedFile(name, data.getvalue(), f"image/{form.lower()}")

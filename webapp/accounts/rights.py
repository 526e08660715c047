"""What migrations share that give rights to the group admin. Databases have run it: what it does must not change."""

from collections.abc import Callable, Collection
from typing import Any

from django.contrib.auth.management import create_permissions

Step = Callable[[Any, Any], None]  # of migrations.RunPython


def given_to_admins(app: str, codenames: Collection[str]) -> Step:
    """A step after which the group admin has these rights of the app, and keeps all that it had before."""

    def give_rights(apps: Any, schema_editor: Any) -> None:
        database = schema_editor.connection.alias
        make_permissions(apps, app, database)
        group, _ = apps.get_model("auth", "Group").objects.using(database).get_or_create(name="admin")
        permissions = apps.get_model("auth", "Permission").objects.using(database)
        found = permissions.filter(content_type__app_label=app, codename__in=codenames)
        assert len(found) == len(codenames), f"permissions of {app} are missing"
        group.permissions.add(*found)

    return give_rights


def make_permissions(apps: Any, app: str, database: str) -> None:
    """Django makes permissions after all migrations; a fresh database does not have them yet."""
    config = apps.get_app_config(app)
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)

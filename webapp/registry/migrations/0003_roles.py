"""The groups viewer, operator and admin. Running it again adds what is missing and takes nothing away."""

from django.db import migrations

from webapp.accounts.rights import make_permissions

VIEWER = {
    "registry": [
        "view_scoringmodel",
        "view_version",
        "view_check",
        "view_rollout",
        "view_event",
        "view_shadowcomparison",
        "view_pulse",
    ],
    "faq": ["view_collection", "view_entry", "view_phrasing"],
}
OPERATOR = {"registry": ["operate_scoringmodel"]}
ADMIN = {
    "registry": ["add_scoringmodel", "change_scoringmodel", "register_version", "delete_artifact"],
    "faq": [f"{what}_{model}" for what in ("add", "change", "delete") for model in ("collection", "entry", "phrasing")],
    "accounts": ["view_user", "add_user", "change_user"],
    "keys": ["view_apikey", "change_apikey"],
    "usage": ["view_scoringrecord"],
}
ROLES = {"viewer": [VIEWER], "operator": [VIEWER, OPERATOR], "admin": [VIEWER, OPERATOR, ADMIN]}


def make_roles(apps, schema_editor):
    database = schema_editor.connection.alias
    for app in ADMIN:
        make_permissions(apps, app, database)
    groups = apps.get_model("auth", "Group").objects.using(database)
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    for name, grants in ROLES.items():
        group, _ = groups.get_or_create(name=name)
        for grant in grants:
            for app, codenames in grant.items():
                found = permissions.filter(content_type__app_label=app, codename__in=codenames)
                assert len(found) == len(codenames), f"permissions of {app} are missing"
                group.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0002_guards"),
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("faq", "0001_initial"),
        ("keys", "0001_initial"),
        ("usage", "0001_initial"),
    ]
    # Back: the groups stay. People are in them, and their permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop)]

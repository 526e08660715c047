from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapp.accounts.services import ensure_user


class Command(BaseCommand):
    help = "Make the users that DEMO_* and ADMIN_* name, where they do not exist. Safe to repeat."

    def handle(self, *_args: object, **_options: object) -> None:
        for role, first in settings.FIRST_USERS.items():
            if not first["password"]:
                raise CommandError(f"Set {role.upper()}_PASSWORD or {role.upper()}_PASSWORD_FILE.")
            made = ensure_user(first["email"], first["password"], name=first["name"], administrator=role == "admin")
            self.stdout.write(f"{first['email']}: {'made' if made else 'is there'}")

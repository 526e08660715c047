from django.conf import settings
from django.core.management.base import BaseCommand

from webapp.accounts.services import ensure_user


class Command(BaseCommand):
    help = "Make the users that DEMO_* and ADMIN_* name and give a password, where they do not exist. Safe to repeat."

    def handle(self, *_args: object, **_options: object) -> None:
        for role, first in settings.FIRST_USERS.items():
            if not first["password"]:
                self.stdout.write(f"{first['email']}: not made, for {role.upper()}_PASSWORD is not set")
                continue
            made = ensure_user(first["email"], first["password"], name=first["name"], administrator=role == "admin")
            self.stdout.write(f"{first['email']}: {'made' if made else 'is there'}")

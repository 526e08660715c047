import time

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connection

from webapp.registry.adoption import adopt_store

PAUSE = 0.5  # seconds


class Command(BaseCommand):
    help = "Bring the database, the static files, the sample FAQ, users and models up to date. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-static", action="store_true", help="leave the static files alone: an image has its own"
        )
        parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait so long for the database")

    def handle(self, *args: object, no_static: bool = False, wait: float = 0, **options: object) -> None:
        wait_for_database(wait)
        call_command("migrate", verbosity=0)
        if not no_static:
            call_command("collectstatic", interactive=False, verbosity=0)
        call_command("load_sample_faq", verbosity=0)
        call_command("ensure_users", verbosity=0)
        adopt_store()


def wait_for_database(seconds: float) -> None:
    """Returns once the database answers. Raises OperationalError when it has not for so many seconds."""
    until = time.monotonic() + seconds
    while True:
        try:
            connection.ensure_connection()
        except OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE)
        else:
            return

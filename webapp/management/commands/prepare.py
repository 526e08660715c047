from django.core.management import call_command
from django.core.management.base import BaseCommand

from webapp.registry.adoption import adopt_store


class Command(BaseCommand):
    help = "Bring the database, the static files, the sample FAQ, users and models up to date. Safe to repeat."

    def handle(self, *args: object, **options: object) -> None:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("load_sample_faq", verbosity=0)
        call_command("ensure_users", verbosity=0)
        adopt_store()

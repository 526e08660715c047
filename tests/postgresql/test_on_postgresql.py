"""What differs on PostgreSQL, and the tests of all that stands in the database once more on it."""

import json
import os
import subprocess
import sys

import pytest

from tests.product import ROOT

SCRIPT = """
import json
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from webapp.registry import services
from webapp.registry.models import Event, ScoringModel, Version
model = ScoringModel.objects.create(name="m", kind="faq", pool="cpu")
version = Version.objects.create(model=model, name="1")
services.record_event(model, Event.Kind.REGISTERED, by=None, version=version)
said = {}
for statement in (
    "UPDATE registry_event SET reason = 'another'",
    "DELETE FROM registry_event",
    "TRUNCATE registry_event",
    "TRUNCATE registry_scoringmodel CASCADE",
    "INSERT INTO registry_event SELECT * FROM registry_event ON CONFLICT (id) DO UPDATE SET reason = 'another'",
    "UPDATE registry_version SET state = 'serving', role = 'champion', ready_at = now()",
):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        said[statement] = "done"
    except IntegrityError as error:
        said[statement] = str(error).splitlines()[0]
Version.objects.update(state="ready", ready_at=timezone.now())
Version.objects.update(state="serving", role="champion")
left = [event.reason for event in Event.objects.all()]
print(json.dumps({"said": said, "left": left, "served": Version.objects.get().state}))
"""

LOG_SCRIPT = """
import json
from datetime import timedelta
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from webapp.audit.models import SecurityEvent
SecurityEvent.objects.create(kind="signed_in", about="new")
SecurityEvent.objects.create(kind="signed_in", about="old", at=timezone.now() - timedelta(days=91))
said = []
for statement in (
    "UPDATE audit_securityevent SET actor = 'nobody'",
    "DELETE FROM audit_securityevent",
    "TRUNCATE audit_securityevent",
    "INSERT INTO audit_securityevent SELECT * FROM audit_securityevent ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        said.append("done")
    except IntegrityError as error:
        said.append(str(error).splitlines()[0])
SecurityEvent.objects.filter(about="old").delete()
print(json.dumps({"said": said, "left": [event.about for event in SecurityEvent.objects.filter(kind="signed_in")]}))
"""


@pytest.fixture
def manage(database_url):
    """Runs `manage.py` on the database and returns what it prints."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-W", "error", "manage.py", *arguments]
        env = {**os.environ, "DATABASE_URL": database_url}
        return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout

    return run


def test_the_history_cannot_be_altered_and_nothing_serves_unchecked(manage):
    manage("migrate", "-v0")
    manage("migrate", "-v0")
    outcome = json.loads(manage("shell", "-v0", "-c", SCRIPT).splitlines()[-1])
    assert outcome["left"] == [""]
    assert outcome["served"] == "serving"
    *history, serving = outcome["said"].values()
    assert set(history) == {"The history of a model cannot be altered or deleted."}
    assert serving == "Only a version that has passed its check may serve."
    manage("migrate", "-v0", "registry", "0001")


def test_the_security_log_cannot_be_altered_and_loses_only_what_is_old(manage):
    manage("migrate", "-v0")
    manage("migrate", "-v0")
    outcome = json.loads(manage("shell", "-v0", "-c", LOG_SCRIPT).splitlines()[-1])
    assert outcome["left"] == ["new"]
    assert len(outcome["said"]) == 4
    assert {said.partition(",")[0] for said in outcome["said"]} == {"The security log cannot be altered"}
    manage("migrate", "-v0", "audit", "0001")


# Folders of tests/webapp, and of some only the files that ask much of the database: locks, constraints, sums.
PLACES = {
    "accounts": ["guesses", "roles"],
    "audit": [],
    "batch": [],
    "faq": ["collections", "entries_api", "entry_history", "imports", "publishing", "report", "review"],
    "keys": ["at_once", "idempotency", "keys_api", "mails", "month_quotas", "rate_limits"],
    "registry": ["adoption", "changing_versions", "history", "models_api", "promotion", "shadow", "trials"],
    "usage": ["counted_calls", "ledger", "record", "traffic", "usage_page"],
    "webhooks": [],
}


def test_what_holds_on_sqlite_holds_here(database_url):
    """In one process, which makes its database once."""
    places = [
        f"tests/webapp/{folder}/{file and f'test_{file}.py'}"
        for folder, files in PLACES.items()
        for file in files or [""]
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not sqlite", *places]
    env = {**os.environ, "TEST_DATABASE_URL": database_url}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout

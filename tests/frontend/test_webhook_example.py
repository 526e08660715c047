"""The example in JavaScript that checks a webhook's signature: node runs it on what we send."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from tests.documented import example
from webapp.webhooks import signing

SECRET = "whsec_" + "A" * 43 + "="
BODY = '{"data":"Fragen für März"}'
ASK = """
import { isGenuine } from "./example.mjs";
const cases = JSON.parse(process.argv[2]);
console.log(JSON.stringify(cases.map(([secret, headers, body]) => isGenuine(secret, headers, Buffer.from(body)))));
"""


def test_it_tells_genuine_events_from_others(tmp_path: Path):
    other, now = signing.new_secret(), timezone.now()
    headers = signing.headers("msg_1", now, BODY.encode(), [SECRET])
    both = signing.headers("msg_1", now, BODY.encode(), [other, SECRET])
    old = signing.headers("msg_1", now - timedelta(minutes=6), BODY.encode(), [SECRET])
    good = [(SECRET, headers, BODY), (SECRET, both, BODY), (other, both, BODY)]
    bad = [
        (other, headers, BODY),
        (SECRET, headers, BODY + " "),
        (SECRET, old, BODY),
        (SECRET, {**headers, "webhook-id": "msg_2"}, BODY),
        (SECRET, {**headers, "webhook-timestamp": "soon"}, BODY),
        (SECRET, {**headers, "webhook-signature": "v1,short nonsense"}, BODY),
    ]
    (tmp_path / "example.mjs").write_text(example("Webhooks", "javascript"))
    (tmp_path / "ask.mjs").write_text(ASK)
    command = ["node", "ask.mjs", json.dumps([*good, *bad])]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout) == [True] * len(good) + [False] * len(bad)

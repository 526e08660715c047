"""Settings as an operator meets them: a started process, and what it says about a wrong value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GOOD = {
    "SECRET_KEY": "k" * 20 + "7Qw-2x_" * 5,
    "API_KEY_HMAC_SECRET": "h" * 20 + "8Rv-3y_" * 5,
    "PUBLIC_URL": "https://scoring.example.org",
    "TRUSTED_PROXY_COUNT": "1",
    "EMAIL_URL": "smtp+tls://user:p%40ss@mail.example.org:587",
}


def check(*flags: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
    """`manage.py check` in an environment of its own; a None takes a variable out."""
    return manage("check", *flags, **changed)


def manage(*command: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "VAR_DIR", "HOME") if name in os.environ}
    env = {name: value for name, value in {**kept, **GOOD, **changed}.items() if value is not None}
    return subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def test_a_deployed_site_has_nothing_to_complain_about():
    outcome = check("--deploy", "--fail-level", "WARNING")
    assert outcome.returncode == 0, outcome.stderr
    assert "no issues" in outcome.stdout


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"SECRET_KEY": None}, "Set SECRET_KEY or SECRET_KEY_FILE"),
        ({"API_KEY_HMAC_SECRET": None}, "Set API_KEY_HMAC_SECRET or API_KEY_HMAC_SECRET_FILE"),
        ({"PUBLIC_URL": "scoring.example.org"}, "PUBLIC_URL must be an address"),
        ({"DEBUG": "maybe"}, "DEBUG must be one of"),
        ({"TRUSTED_PROXY_COUNT": "-1"}, "TRUSTED_PROXY_COUNT must be a whole number"),
        ({"EMAIL_URL": "pigeon://loft"}, "EMAIL_URL must be"),
        ({"EMAIL_VERIFICATION": "perhaps"}, "EMAIL_VERIFICATION must be one of"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too short"),
        ({"API_KEY_HMAC_SECRET": GOOD["SECRET_KEY"]}, "are the same"),
        ({"DEBUG": "on"}, "DEBUG is on while PUBLIC_URL is https"),
        ({"EMAIL_URL": "console:", "EMAIL_VERIFICATION": "mandatory"}, "Nobody can confirm an address"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_value_stops_the_start_and_says_what_to_do(changed, told):
    outcome = check(**changed)
    assert outcome.returncode != 0
    assert told in outcome.stderr


def test_https_without_a_trusted_proxy_is_warned_about():
    outcome = check("--deploy", TRUSTED_PROXY_COUNT="0")
    assert "no proxy is trusted" in outcome.stderr


@pytest.mark.parametrize(
    ("changed", "promised"),
    [
        ({}, "max-age=31536000"),
        ({"HSTS_SECONDS": "60"}, "max-age=60"),
        ({"HSTS_INCLUDE_SUBDOMAINS": "on", "HSTS_PRELOAD": "on"}, "max-age=31536000; includeSubDomains; preload"),
    ],
    ids=["by default", "for a minute", "for the whole domain"],
)
def test_https_is_promised_for_this_name_alone_unless_more_is_asked_for(changed, promised):
    code = (
        "from django.test import Client\n"
        "answer = Client().get('/health', headers={'Host': 'scoring.example.org', 'X-Forwarded-Proto': 'https'})\n"
        "print(answer['Strict-Transport-Security'])"
    )
    outcome = manage("shell", "--no-imports", "--command", code, **changed)
    assert outcome.stdout.strip() == promised, outcome.stderr


def test_secrets_may_come_as_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(GOOD["SECRET_KEY"] + "\n")
    assert check(SECRET_KEY=None, SECRET_KEY_FILE=str(secret)).returncode == 0

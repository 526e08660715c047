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

ENTRA = {
    "OIDC_ISSUER": "https://login.microsoftonline.com/8f5e1f0a-0000-4000-8000-000000000000/v2.0",
    "OIDC_CLIENT_ID": "1b1f6c1e-0000-4000-8000-000000000000",
    "OIDC_CLIENT_SECRET": "from the portal",
    "OIDC_ROLES": "3c1d7e52-0000-4000-8000-000000000000=admin",
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
        ({"AUDIT_KEPT_DAYS": "30"}, "AUDIT_KEPT_DAYS must be 90 or more"),
        ({**ENTRA, "OIDC_ISSUER": "http://login.example"}, "OIDC_ISSUER must be an https address"),
        ({**ENTRA, "OIDC_ISSUER": "https://login.microsoftonline.com/common/v2.0"}, "OIDC_ISSUER must name your own"),
        ({**ENTRA, "OIDC_CLIENT_SECRET": None}, "set OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"),
        ({**ENTRA, "OIDC_ROLES": "7f3c=root"}, "'root' is no role"),
        ({**ENTRA, "OIDC_ROLES": "7f3c"}, "OIDC_ROLES must be such as"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_value_stops_the_start_and_says_what_to_do(changed, told):
    outcome = check(**changed)
    assert outcome.returncode != 0
    assert told in outcome.stderr


def test_a_site_with_an_identity_provider_has_nothing_to_complain_about():
    outcome = check("--deploy", "--fail-level", "WARNING", **ENTRA)
    assert outcome.returncode == 0, outcome.stderr


def test_forms_may_lead_to_the_identity_provider_and_nowhere_else():
    code = (
        "from django.test import Client\n"
        "answer = Client().get('/health', headers={'Host': 'scoring.example.org', 'X-Forwarded-Proto': 'https'})\n"
        "print(answer['Content-Security-Policy'])"
    )
    outcome = manage("shell", "--no-imports", "--command", code, **ENTRA)
    assert "form-action 'self' https://login.microsoftonline.com;" in outcome.stdout, outcome.stderr


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

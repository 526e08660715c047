"""The environment the tests run in. A plugin of its own, because Django's settings are read before any conftest.py."""

import os
import tempfile
from pathlib import Path

SCRATCH = Path(tempfile.mkdtemp(prefix="scorepod-tests-"))

os.environ.update(
    SECRET_KEY="only-for-tests-" + "x" * 50,
    API_KEY_HMAC_SECRET="only-for-tests-" + "y" * 50,
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", f"sqlite:///{SCRATCH / 'db.sqlite3'}"),
    VAR_DIR=str(SCRATCH),
    PUBLIC_URL="http://127.0.0.1:8000",
    # Nobody listens there: a test that reaches a pod starts one or swaps the transport.
    SCORING_CPU_URL="http://127.0.0.1:9",
    SCORING_GPU_URL="http://127.0.0.1:9",
    LOG_FORMAT="json",
    ADMIN_MFA_REQUIRED="off",  # the tests of it turn it on
    OMP_WAIT_POLICY="PASSIVE",  # as `python -m scoring_service` sets it, before torch is imported
)
for inherited in (
    "REDIS_URL",
    "EMAIL_URL",
    "SCORING_TOKEN",
    "DEBUG",
    "OIDC_ISSUER",
    "MODEL_STORE",
    "WEBHOOK_KEYS",
    "WEBHOOK_ALLOW_PRIVATE",
    "METRICS_BIND",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
):
    os.environ.pop(inherited, None)

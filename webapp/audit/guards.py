"""What the database itself refuses, whoever asks: to alter the security log, or to delete what is not old."""

from webapp.guards import Guards

KEPT_DAYS = 90  # at least, whatever AUDIT_KEPT_DAYS says

GUARDS = Guards.append_only(
    "audit",
    "0002_guards",
    table="audit_securityevent",
    row="security_event",
    function="audit_refuse",
    refused=f"The security log cannot be altered, and nothing deleted from it before {KEPT_DAYS} days.",
    kept_days=KEPT_DAYS,
)

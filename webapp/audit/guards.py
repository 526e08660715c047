"""What the database itself refuses, whoever asks: to alter the security log, or to delete what is not old."""

from webapp.guards import Guards

KEPT_DAYS = 90  # at least, whatever AUDIT_KEPT_DAYS says
REFUSED = f"The security log cannot be altered, and nothing deleted from it before {KEPT_DAYS} days."

_SQLITE = {
    "security_event_not_altered": f"""
        CREATE TRIGGER security_event_not_altered BEFORE UPDATE ON audit_securityevent
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    "security_event_not_deleted": f"""
        CREATE TRIGGER security_event_not_deleted BEFORE DELETE ON audit_securityevent
        WHEN OLD.at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEPT_DAYS} days')
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "security_event_not_replaced": f"""
        CREATE TRIGGER security_event_not_replaced BEFORE INSERT ON audit_securityevent
        WHEN EXISTS (SELECT 1 FROM audit_securityevent WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",  # noqa: S608  # a constant of our own
}

_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{REFUSED}' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER security_event_not_altered BEFORE UPDATE ON audit_securityevent
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE OR REPLACE TRIGGER security_event_not_deleted BEFORE DELETE ON audit_securityevent
    FOR EACH ROW WHEN (OLD.at > now() - interval '{KEPT_DAYS} days') EXECUTE FUNCTION audit_refuse();
CREATE OR REPLACE TRIGGER security_event_not_truncated BEFORE TRUNCATE ON audit_securityevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
"""
_POSTGRESQL_DROP = "DROP FUNCTION IF EXISTS audit_refuse() CASCADE"

GUARDS = Guards("audit", "0002_guards", sqlite=_SQLITE, postgresql=_POSTGRESQL, dropped_by=_POSTGRESQL_DROP)

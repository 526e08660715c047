"""What the database itself refuses, whoever asks: to alter the history, and to let a version serve unchecked."""

from webapp.guards import Guards

HISTORY = "The history of a model cannot be altered or deleted."
UNCHECKED = "Only a version that has passed its check may serve."

_SQLITE = {
    "event_not_altered": f"""
        CREATE TRIGGER event_not_altered BEFORE UPDATE ON registry_event
        BEGIN SELECT RAISE(ABORT, '{HISTORY}'); END""",
    "event_not_deleted": f"""
        CREATE TRIGGER event_not_deleted BEFORE DELETE ON registry_event
        BEGIN SELECT RAISE(ABORT, '{HISTORY}'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "event_not_replaced": f"""
        CREATE TRIGGER event_not_replaced BEFORE INSERT ON registry_event
        WHEN EXISTS (SELECT 1 FROM registry_event WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{HISTORY}'); END""",  # noqa: S608  # a constant of our own
    "version_serves_checked": f"""
        CREATE TRIGGER version_serves_checked BEFORE UPDATE ON registry_version
        WHEN NEW.state = 'serving' AND (OLD.state NOT IN ('ready', 'serving') OR OLD.ready_at IS NULL)
        BEGIN SELECT RAISE(ABORT, '{UNCHECKED}'); END""",
    "version_born_unserving": f"""
        CREATE TRIGGER version_born_unserving BEFORE INSERT ON registry_version
        WHEN NEW.state = 'serving' AND NEW.ready_at IS NULL
        BEGIN SELECT RAISE(ABORT, '{UNCHECKED}'); END""",
}

_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION registry_refuse_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{HISTORY}' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE FUNCTION registry_refuse_unchecked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{UNCHECKED}' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER event_not_altered BEFORE UPDATE OR DELETE ON registry_event
    FOR EACH ROW EXECUTE FUNCTION registry_refuse_history();
CREATE OR REPLACE TRIGGER event_not_truncated BEFORE TRUNCATE ON registry_event
    FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_history();
CREATE OR REPLACE TRIGGER version_serves_checked BEFORE UPDATE ON registry_version
    FOR EACH ROW WHEN (NEW.state = 'serving' AND (OLD.state NOT IN ('ready', 'serving') OR OLD.ready_at IS NULL))
    EXECUTE FUNCTION registry_refuse_unchecked();
CREATE OR REPLACE TRIGGER version_born_unserving BEFORE INSERT ON registry_version
    FOR EACH ROW WHEN (NEW.state = 'serving' AND NEW.ready_at IS NULL)
    EXECUTE FUNCTION registry_refuse_unchecked();
"""
_POSTGRESQL_DROP = """
DROP FUNCTION IF EXISTS registry_refuse_history() CASCADE;
DROP FUNCTION IF EXISTS registry_refuse_unchecked() CASCADE;
"""

GUARDS = Guards("registry", "0002_guards", sqlite=_SQLITE, postgresql=_POSTGRESQL, dropped_by=_POSTGRESQL_DROP)

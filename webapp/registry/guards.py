"""What the database itself refuses, whoever asks: to alter the history, and to let a version serve unchecked."""

from dataclasses import replace

from webapp.guards import Guards

UNCHECKED = "Only a version that has passed its check may serve."

_HISTORY = Guards.append_only(
    "registry",
    "0002_guards",
    table="registry_event",
    row="event",
    function="registry_refuse_history",
    refused="The history of a model cannot be altered or deleted.",
)

_SQLITE = {
    "version_serves_checked": f"""
        BEFORE UPDATE ON registry_version
        WHEN NEW.state = 'serving' AND (OLD.state NOT IN ('ready', 'serving') OR OLD.ready_at IS NULL)
        BEGIN SELECT RAISE(ABORT, '{UNCHECKED}'); END""",
    "version_born_unserving": f"""
        BEFORE INSERT ON registry_version
        WHEN NEW.state = 'serving' AND NEW.ready_at IS NULL
        BEGIN SELECT RAISE(ABORT, '{UNCHECKED}'); END""",
}

_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION registry_refuse_unchecked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{UNCHECKED}' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER version_serves_checked BEFORE UPDATE ON registry_version
    FOR EACH ROW WHEN (NEW.state = 'serving' AND (OLD.state NOT IN ('ready', 'serving') OR OLD.ready_at IS NULL))
    EXECUTE FUNCTION registry_refuse_unchecked();
CREATE OR REPLACE TRIGGER version_born_unserving BEFORE INSERT ON registry_version
    FOR EACH ROW WHEN (NEW.state = 'serving' AND NEW.ready_at IS NULL)
    EXECUTE FUNCTION registry_refuse_unchecked();
"""

GUARDS = replace(
    _HISTORY,
    sqlite={**_HISTORY.sqlite, **_SQLITE},
    postgresql=_HISTORY.postgresql + _POSTGRESQL,
    dropped_by=_HISTORY.dropped_by + "DROP FUNCTION IF EXISTS registry_refuse_unchecked() CASCADE;",
)

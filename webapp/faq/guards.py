"""What the database itself refuses, whoever asks: to alter the history of entries."""

from webapp.guards import Guards

REFUSED = "The history of FAQ entries cannot be altered or deleted."

_SQLITE = {
    "faq_revision_not_altered": f"""
        CREATE TRIGGER faq_revision_not_altered BEFORE UPDATE ON faq_revision
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    "faq_revision_not_deleted": f"""
        CREATE TRIGGER faq_revision_not_deleted BEFORE DELETE ON faq_revision
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "faq_revision_not_replaced": f"""
        CREATE TRIGGER faq_revision_not_replaced BEFORE INSERT ON faq_revision
        WHEN EXISTS (SELECT 1 FROM faq_revision WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",  # noqa: S608  # a constant of our own
}

_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION faq_refuse_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{REFUSED}' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER faq_revision_not_altered BEFORE UPDATE OR DELETE ON faq_revision
    FOR EACH ROW EXECUTE FUNCTION faq_refuse_history();
CREATE OR REPLACE TRIGGER faq_revision_not_truncated BEFORE TRUNCATE ON faq_revision
    FOR EACH STATEMENT EXECUTE FUNCTION faq_refuse_history();
"""
_POSTGRESQL_DROP = "DROP FUNCTION IF EXISTS faq_refuse_history() CASCADE"

GUARDS = Guards("faq", "0005_guards", sqlite=_SQLITE, postgresql=_POSTGRESQL, dropped_by=_POSTGRESQL_DROP)

"""Whether a role's tables are whole: what tells a database that was restored, and how far it has to catch up.

A role writes its own row and rows. `connector state` writes them for a role that it rebuilds.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

RESTORE = """
-- Which tables a role's schema was last found whole in. A copy, a restored dump, a recovery to a point in time and
-- a promoted standby are other tables: what was written to a CRM since may be missing in them.
CREATE TABLE shared.tables (
    schema       text PRIMARY KEY,     -- identity | hubspot | salesforce | media
    incarnation  text NOT NULL,        -- shared.incarnation() when they were compared with the log
    generation   bigint NOT NULL DEFAULT 0, -- times that they were found behind; what began before settles nothing
    behind_since timestamptz,          -- NULL: they are whole
    reopens_at   timestamptz,          -- no sooner: a call to a CRM may still be on the way
    reason       text NOT NULL DEFAULT ''
);

-- How far a schema that is behind has to fold before it is whole: the end of the log when it was found behind.
CREATE TABLE shared.catch_up (
    schema    text NOT NULL,
    topic     text NOT NULL,
    partition int NOT NULL,
    until     bigint NOT NULL,
    PRIMARY KEY (schema, topic, partition)
);

-- Server, timeline, database and table: any copy differs in one of them. Some hosted servers do not tell the first two.
CREATE FUNCTION shared.incarnation() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    system text := '-';
    timeline text := '-';
BEGIN
    BEGIN
        system := (SELECT system_identifier::text FROM pg_control_system());
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RETURN concat_ws('/', system, timeline, (SELECT oid FROM pg_database WHERE datname = current_database()),
                     'shared.tables'::regclass::oid);
END $$;
"""

OFFSETS = """
ALTER TABLE {schema}.offsets ADD COLUMN stored_at timestamptz NOT NULL DEFAULT now();
"""


def upgrade() -> None:
    _run(RESTORE)
    for schema in ("identity", "hubspot", "salesforce", "media"):
        _run(OFFSETS.format(schema=schema))


def _run(script: str) -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))

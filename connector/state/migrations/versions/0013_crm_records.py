"""What the CRMs say of people, as it was last read: for the parameters of templates."""

from alembic import op

revision = "0013"
down_revision = "0012"

RECORDS = """
-- Personal data: a row is forgotten when what it says may not be used any more, and when its record is erased.
CREATE TABLE outbound.crm_records (
    crm        text NOT NULL,                          -- hubspot | salesforce
    record_id  text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}',            -- name → value; null: the record has nothing there
    read_at    timestamptz,                            -- before the CRM was asked
    wanted_at  timestamptz,                            -- since when sends wait for it; NULL: none do
    waiting    uuid[] NOT NULL DEFAULT '{}',           -- the contacts of those sends
    not_before timestamptz NOT NULL DEFAULT '-infinity', -- somebody reads it, or it failed: not tried before
    PRIMARY KEY (crm, record_id)
) WITH (fillfactor = 80);
CREATE INDEX crm_records_wanted ON outbound.crm_records (crm, wanted_at) WHERE wanted_at IS NOT NULL;
CREATE INDEX crm_records_age ON outbound.crm_records (read_at) WHERE wanted_at IS NULL;
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(RECORDS))

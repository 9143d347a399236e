"""Reconciliations: what a CRM lists while one is made, what a person is to look at, and what the last one found."""

from alembic import op

revision = "0016"
down_revision = "0015"

RECONCILE = """
CREATE UNLOGGED TABLE replay.listed (  -- of the reconciliation that is being made; worth nothing afterwards
    sink      text NOT NULL,
    what      text NOT NULL,           -- contact | activity
    record_id text NOT NULL,
    key       text NOT NULL, -- contact id or wamid; '': it carries none
    hashed    text NOT NULL,           -- in its place, the beginning of the SHA-256 of a wamid
    twin      text NOT NULL,           -- digest of what a copy says as well; '': too little is said
    made_at   timestamptz NOT NULL,
    PRIMARY KEY (sink, what, record_id)
);
CREATE INDEX listed_by_key ON replay.listed (sink, what, key) WHERE key <> '';
CREATE INDEX listed_by_twin ON replay.listed (sink, what, twin) WHERE twin <> '';

CREATE TABLE replay.left_over (        -- records that a repair left for a person to look at
    sink       text NOT NULL,
    what       text NOT NULL,
    record_id  text NOT NULL,
    kind       text NOT NULL,          -- doubled | orphaned
    contact_id text NOT NULL,          -- '': nobody's that we know
    wamid      text NOT NULL,
    reason     text NOT NULL,
    flagged_at timestamptz NOT NULL DEFAULT now(),
    act        text NOT NULL,          -- of operator.actions
    PRIMARY KEY (sink, what, record_id)
);

CREATE TABLE replay.reconciliations (  -- the last one of each CRM that was not about single people
    sink  text PRIMARY KEY,
    at    timestamptz NOT NULL DEFAULT now(),
    part  text NOT NULL,               -- of time, as it was asked for; '': everything
    drift jsonb NOT NULL               -- kind → items that are not as they should be
);
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(RECONCILE))

"""Plans of replays: what each would write, item by item, and how far it was applied. Written by `connector replay` only.

The log of a plan is folded into a table beside these, `replay.pieces_<plan>`, which is gone when the plan is made.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

REPLAY = """
CREATE SCHEMA replay;

CREATE TABLE replay.plans (
    plan_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash      text UNIQUE,             -- of all its items; NULL while it is made
    sinks     text[] NOT NULL,
    selection jsonb NOT NULL,          -- what was asked for, as it was typed
    mapping   text NOT NULL,           -- version of the mapping that it was made with
    verified  boolean NOT NULL,        -- compared with the CRM's own records
    restore   boolean NOT NULL,        -- makes anew what people deleted
    summary   jsonb,
    state     text NOT NULL,           -- planning | planned | applying | stopped | done | cancelled
    made_at   timestamptz NOT NULL DEFAULT now(),
    began_at  timestamptz,
    ended_at  timestamptz,
    made_by   text NOT NULL,
    act       text,                    -- of operator.actions
    who       text,                    -- applied or cancelled it
    why       text
);

CREATE TABLE replay.items (
    plan_id        bigint NOT NULL REFERENCES replay.plans ON DELETE CASCADE,
    number         bigint NOT NULL,    -- in the order in which they are applied
    sink           text NOT NULL,
    kind           text NOT NULL,      -- merge | contact | activity
    key            text NOT NULL,      -- contact id or wamid
    act            text NOT NULL,      -- create | change | restore | learn | merge | cannot
    fields         jsonb NOT NULL,     -- names of what changes in the CRM
    reason         text NOT NULL,      -- why it is written, or why it cannot be
    base_version   bigint,             -- the desired version that was looked at; NULL: there was no row
    facts          jsonb,              -- what should be known now; NULL: what is known already
    digest         text,               -- what the CRM is known to say; NULL: it is written whatever was written before
    record_id      text,               -- in the CRM, of an activity that the tables had lost
    event          bytea,              -- of a merge: the record of the log
    fresh_at       timestamptz,
    topic          text,
    partition      int,
    "offset"       bigint,
    state          text NOT NULL DEFAULT 'planned', -- planned | marked | written | refused | held | stale | taken back
    marked_version bigint,
    PRIMARY KEY (plan_id, number)
);
CREATE INDEX items_open ON replay.items (plan_id, number) WHERE state IN ('planned', 'marked') AND act <> 'cannot';
CREATE INDEX items_of_key ON replay.items (key);
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(REPLAY))

"""The call quotas of CRM accounts, drawn from by every process that calls a CRM (connector/crm/quota).

Shared by all roles and tools. What is lost with a crash of the server is relearned from the CRM's next answer.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

QUOTAS = """
-- What counts for a whole account: the day's calls, and calls that are open at the same time.
CREATE TABLE shared.quota_accounts (
    account       text PRIMARY KEY,           -- the CRM and a digest of the credential, never the credential
    crm           text NOT NULL,
    day_calls     int NOT NULL,               -- calls a day, as the CRM says or as set; 0: not kept
    drawn         bigint NOT NULL DEFAULT 0,  -- calls drawn so far; numbers them
    ends          bigint NOT NULL,            -- number of the call with which the day's calls are used up
    heard         bigint NOT NULL DEFAULT 0,  -- number of the newest call that told `ends`
    look_again_at timestamptz NOT NULL DEFAULT '-infinity', -- one call may go then, though the day is used up
    not_before    timestamptz NOT NULL DEFAULT '-infinity', -- the CRM refused: nobody calls until then
    at_once       int NOT NULL DEFAULT 0,     -- most calls that may be open; 0: not kept
    open_calls    jsonb NOT NULL DEFAULT '{}', -- number of a call → epoch seconds at which it counts as over
    used_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- What counts for a kind of call: so many calls in a rolling window, kept by spacing them (GCRA).
CREATE TABLE shared.quotas (
    account   text NOT NULL REFERENCES shared.quota_accounts ON DELETE CASCADE,
    bucket    text NOT NULL,                  -- burst | associations | search
    calls     int NOT NULL,                   -- in a window, as the CRM says or as set
    seconds   float8 NOT NULL,                -- length of the window
    told      boolean NOT NULL DEFAULT false, -- by the CRM
    spacing   interval NOT NULL,              -- between two calls
    tolerance interval NOT NULL,              -- that calls may be ahead of their spacing
    next_at   timestamptz NOT NULL DEFAULT '-infinity', -- of the next call, were they evenly spaced
    PRIMARY KEY (account, bucket)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(QUOTAS))

"""Whether the log has the message of a send itself: one whose answer was lost is told when a status names it."""

from alembic import op

revision = "0008"
down_revision = "0007"

TOLD = """
ALTER TABLE outbound.sends ADD COLUMN message_told boolean NOT NULL DEFAULT false;
CREATE INDEX sends_untold ON outbound.sends (attempted_at) WHERE wamid IS NOT NULL AND NOT message_told;
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(TOLD))

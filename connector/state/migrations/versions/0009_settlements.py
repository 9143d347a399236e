"""What an operator decided about a send whose outcome nobody knows: outcome, who, why, when."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("ALTER TABLE outbound.sends ADD COLUMN settlement jsonb")

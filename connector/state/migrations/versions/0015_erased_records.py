"""Records that a CRM erased for privacy: nobody whose record it was is written to."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    # Kept for good, and nothing of the person but the record's number: the sink may learn later whose it was.
    op.execute(
        "CREATE TABLE outbound.erased_records (crm text NOT NULL, record_id text NOT NULL, "
        "erased_at timestamptz NOT NULL, PRIMARY KEY (crm, record_id))"
    )

"""Indexes: the refused, the held, the longest waiting and the longest parked are found without a look at all."""

from alembic import op

revision = "0005"
down_revision = "0004"


_WAITING = {
    "contacts": "desired_version > written_version AND problem IS NULL AND redirect_to IS NULL AND held IS NULL",
    "activities": "desired_version > written_version AND problem IS NULL AND contact_id IS NOT NULL AND held IS NULL",
}


def upgrade() -> None:
    op.execute("CREATE INDEX parked_statuses_age ON identity.parked_statuses (parked_at)")
    for sink in ("hubspot", "salesforce"):
        for table in ("contacts", "activities"):
            op.execute(
                f"CREATE INDEX {table}_refused ON {sink}.{table} (split_part(problem, ': ', 1)) "
                "WHERE problem IS NOT NULL"
            )
        for table, waits in _WAITING.items():
            op.execute(f"CREATE INDEX {table}_oldest ON {sink}.{table} (waiting_since) WHERE {waits}")
        op.execute(
            f"CREATE INDEX contacts_held ON {sink}.contacts (held) WHERE held IS NOT NULL AND redirect_to IS NULL"
        )

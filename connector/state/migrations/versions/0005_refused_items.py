"""Indexes by which refused and held items are counted and tried again without a look at everything."""

from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    for sink in ("hubspot", "salesforce"):
        for table in ("contacts", "activities"):
            op.execute(
                f"CREATE INDEX {table}_refused ON {sink}.{table} (split_part(problem, ': ', 1)) "
                "WHERE problem IS NOT NULL"
            )
        op.execute(
            f"CREATE INDEX contacts_held ON {sink}.contacts (held) WHERE held IS NOT NULL AND redirect_to IS NULL"
        )

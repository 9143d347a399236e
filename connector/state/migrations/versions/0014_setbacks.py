"""Why an item did not pass when it was last tried, for `connector status` to tell."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for sink in ("hubspot", "salesforce"):
        for table in ("contacts", "activities"):
            # Stands until the next one; it counts while `attempts` does. Personal data is masked.
            op.execute(f"ALTER TABLE {sink}.{table} ADD COLUMN setback text")

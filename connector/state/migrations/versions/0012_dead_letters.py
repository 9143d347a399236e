"""What operators did about dead letters, and the values that they mended."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE shared.dead_letter_acts (
            letter_id text PRIMARY KEY,
            -- redriving: it may be on the topic already; the same command sends it again
            state     text NOT NULL CHECK (state IN ('redriving', 'redriven', 'dropped')),
            act       text NOT NULL,
            who       text NOT NULL,
            why       text NOT NULL,
            at        timestamptz NOT NULL
        )
        """
    )
    op.execute(
        """
        CREATE TABLE shared.dead_letter_fixes (
            letter_id text PRIMARY KEY,
            value     bytea NOT NULL,
            act       text NOT NULL,
            who       text NOT NULL,
            why       text NOT NULL,
            at        timestamptz NOT NULL
        )
        """
    )

"""Who paused or resumed sends: every act, so that acts may come twice and in any order, and can be read later."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        -- shared.switches is what the latest act of each scope and subject says, and is derived from these.
        CREATE TABLE shared.switch_acts (
            act_id  text PRIMARY KEY,
            kind    text NOT NULL,
            scope   text NOT NULL,
            subject text NOT NULL,
            paused  boolean NOT NULL,
            reason  text NOT NULL,
            who     text NOT NULL,
            at      timestamptz NOT NULL
        )
        """
    )
    op.execute(
        'CREATE INDEX switch_acts_latest ON shared.switch_acts (kind, scope, subject, at DESC, act_id COLLATE "C" DESC)'
    )

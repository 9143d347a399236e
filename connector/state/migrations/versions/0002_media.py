"""Files of messages: what is to be fetched from WhatsApp, where it is kept, and why it is not there.

The schema is written by the role `media` alone, and by `connector media purge`.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

MEDIA = """
CREATE SCHEMA media;

CREATE TABLE media.files (
    key             text PRIMARY KEY,          -- names the file in links: a hash of wamid and media id
    wamid           text NOT NULL,             -- the message that it belongs to; of an edit, the edited one
    contact_id      uuid,                      -- whose message it was when it came; redirects are not applied
    media_id        text NOT NULL,             -- WhatsApp's, good for 7 days
    phone_number_id text NOT NULL,
    kind            text NOT NULL,             -- image, video, audio, voice, document, sticker
    mime_type       text NOT NULL,             -- these four as WhatsApp said
    filename        text NOT NULL,
    sha256          text NOT NULL,             -- hex; '' when it was not said, or is none
    size            bigint,
    url             text NOT NULL,             -- of the webhook, good for 5 minutes; '' when it had none
    received_at     timestamptz NOT NULL,      -- when the webhook came: both lives count from there
    at              timestamptz NOT NULL,      -- of the message
    fetch_until     timestamptz NOT NULL,
    state           text NOT NULL CHECK (state IN ('waiting', 'stored', 'unavailable', 'withdrawn', 'purged')),
    reason          text NOT NULL DEFAULT '',  -- why it is not there (yet)
    attempts        int NOT NULL DEFAULT 0,    -- also names the attempt that holds the lease
    not_before      timestamptz NOT NULL DEFAULT '-infinity',  -- of the next attempt; the lease's end during one
    mismatches      smallint NOT NULL DEFAULT 0, -- downloads that were not what WhatsApp said
    blob            text,                      -- where the store has it, or may have it since an attempt began
    stored_sha256   text,                      -- hex, of what was stored
    stored_size     bigint,
    stored_mime     text,
    differs         text NOT NULL DEFAULT '',  -- how what was stored differs from what WhatsApp said; '' when it does not
    stored_at       timestamptz
);
CREATE INDEX files_waiting ON media.files (fetch_until) WHERE state = 'waiting';
CREATE INDEX files_to_remove ON media.files (not_before) WHERE blob IS NOT NULL AND state NOT IN ('waiting', 'stored');
CREATE INDEX files_of_message ON media.files (wamid);
CREATE INDEX files_by_age ON media.files (at) WHERE state NOT IN ('withdrawn', 'purged');

-- Messages that their author deleted: a file that is noted later is not fetched.
CREATE TABLE media.withdrawals (
    wamid text PRIMARY KEY,
    at    timestamptz NOT NULL
);

CREATE TABLE media.offsets (
    topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition)
);
"""


def upgrade() -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(MEDIA))

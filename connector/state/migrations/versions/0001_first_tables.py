"""First tables: identity, what is relayed to Kafka, and one schema a CRM.

A schema is written by one role only: `identity` by route, `hubspot` and `salesforce` by their sync role. `shared.outgoing`
is appended to by every role and drained by the relay of the role that wrote the row.
"""

from alembic import op

revision = "0001"
down_revision = None

IDENTITY = """
CREATE SCHEMA identity;

CREATE TABLE identity.contacts (
    contact_id    uuid PRIMARY KEY,
    first_seen_at timestamptz NOT NULL,          -- earliest fact about the person; decides who wins a merge
    has_bsuid     boolean NOT NULL DEFAULT false, -- false: known by phones only, may be claimed by a BSUID
    redirect_to   uuid,                          -- the winner of a merge
    redirected_at timestamptz,
    reason        text
);
CREATE INDEX contacts_redirected ON identity.contacts (redirect_to) WHERE redirect_to IS NOT NULL;

-- contact_id is NULL between the insert that reserves the row and the decision, inside one transaction.
CREATE TABLE identity.aliases (
    kind                text NOT NULL,        -- bsuid | phone
    value               text NOT NULL,
    contact_id          uuid,
    since               timestamptz NOT NULL, -- the holder has it from then on
    seen_at             timestamptz NOT NULL, -- the holder, known by BSUID, last showed it; an older fact moves nothing
    previous_contact_id uuid,                 -- who held it before `since`
    released_at         timestamptz,          -- the person gave it up (number change); the next sighting is somebody new
    contacts_made       int NOT NULL DEFAULT 0, -- contacts that took their id from it: UUIDv5 of alias, alias#2, …
    PRIMARY KEY (kind, value)
) WITH (fillfactor = 80);                     -- `seen_at` changes with every message: room for updates in place
CREATE INDEX aliases_of_contact ON identity.aliases (contact_id);

-- Who wrote or received a message: a status finds its person here, a replay finds the same person again.
-- A wamid is also inserted and deleted within one transaction, to wait for others with the same one.
CREATE TABLE identity.messages (
    wamid           text PRIMARY KEY,
    contact_id      uuid NOT NULL,
    first_event_id  text NOT NULL,
    received_at     timestamptz NOT NULL,
    topic           text NOT NULL,
    partition       int NOT NULL,
    "offset"        bigint NOT NULL
);

-- Statuses that came before anything that tells whose they are. Gone on to every sink without a person; sent again
-- with one, and deleted here, by the batch that learns who has the message, the BSUID or the phone.
CREATE TABLE identity.parked_statuses (
    event_id  text PRIMARY KEY,
    wamid     text NOT NULL,
    bsuid     text,                           -- the aliases that the status showed, as in identity.aliases
    phone     text,
    event     bytea NOT NULL,                 -- the value on conversation.events, without contact_id
    parked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX parked_statuses_wamid ON identity.parked_statuses (wamid);
CREATE INDEX parked_statuses_bsuid ON identity.parked_statuses (bsuid) WHERE bsuid IS NOT NULL;
CREATE INDEX parked_statuses_phone ON identity.parked_statuses (phone) WHERE phone IS NOT NULL;

CREATE TABLE identity.conflicts (
    event_id       text NOT NULL,
    kind           text NOT NULL,
    value          text NOT NULL,
    at             timestamptz NOT NULL,
    kept_contact   uuid NOT NULL,
    other_contact  uuid NOT NULL,
    decision       text NOT NULL,
    PRIMARY KEY (event_id, kind, value)
);

CREATE TABLE identity.offsets (
    topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition)
);
"""

SHARED = """
CREATE SCHEMA shared;

-- What follows from a state change: written in the same transaction, relayed to Kafka at least once.
CREATE TABLE shared.outgoing (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage      text NOT NULL,
    topic      text NOT NULL,
    key        bytea NOT NULL,
    value      bytea NOT NULL,
    headers    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outgoing_of_stage ON shared.outgoing (stage, id);
"""

SINK = """
CREATE SCHEMA {sink};

-- What the CRM should say about each person (facts, desired_version) and what it was told (written_version).
CREATE TABLE {sink}.contacts (
    contact_id      uuid PRIMARY KEY,
    facts           jsonb NOT NULL,
    desired_version bigint NOT NULL DEFAULT 0,
    written_version bigint NOT NULL DEFAULT 0,
    written_digest  text,                            -- of what was written: the same again needs no call
    record_id       text,
    created_by_us   boolean NOT NULL DEFAULT false,
    intent          boolean NOT NULL DEFAULT false,  -- a first write was begun: the CRM may have a record we do not know
    shared          boolean NOT NULL DEFAULT false,  -- a person merged the record into another contact's: that one is written
    written_at      timestamptz,                     -- the record was there and took a write
    phone           text,                            -- E.164, as the facts have it: to look the person up by
    looked_up_phone text,                            -- the phone that was last searched for in the CRM
    looked_up_at    timestamptz,
    erased          boolean NOT NULL DEFAULT false,  -- the record was deleted for good: never made anew
    held            text,                            -- why nothing is written: lookup | unknown | ignored | deleted | erased
    redirect_to     uuid,
    priority        smallint NOT NULL DEFAULT 0,     -- 0 live, 1 statuses, 2 replay
    fresh_at        timestamptz NOT NULL,
    waiting_since   timestamptz,
    attempts        int NOT NULL DEFAULT 0,
    not_before      timestamptz NOT NULL DEFAULT '-infinity',
    lease_until     timestamptz NOT NULL DEFAULT '-infinity',
    problem         text                             -- why the CRM refused the desired version; NULL while fine
);
CREATE INDEX contacts_waiting ON {sink}.contacts (priority, fresh_at DESC)
    WHERE desired_version > written_version AND problem IS NULL AND redirect_to IS NULL AND held IS NULL;
-- A record belongs to one contact. A merged contact's may go on as its winner's.
CREATE UNIQUE INDEX contacts_record ON {sink}.contacts (record_id)
    WHERE record_id IS NOT NULL AND redirect_to IS NULL AND NOT shared;
CREATE INDEX contacts_sharing ON {sink}.contacts (record_id) WHERE shared;
CREATE INDEX contacts_to_look_up ON {sink}.contacts (priority, fresh_at DESC)
    WHERE held = 'lookup' AND redirect_to IS NULL;
CREATE INDEX contacts_with_new_phone ON {sink}.contacts (fresh_at)
    WHERE record_id IS NOT NULL AND held IS NULL AND redirect_to IS NULL AND phone IS DISTINCT FROM looked_up_phone
      AND phone IS NOT NULL;
CREATE INDEX contacts_to_look_up_again ON {sink}.contacts (looked_up_at)
    WHERE held IN ('unknown', 'erased') AND redirect_to IS NULL;

CREATE TABLE {sink}.activities (
    wamid            text PRIMARY KEY,
    contact_id       uuid,                            -- NULL: a status whose message and person are not known yet
    facts            jsonb NOT NULL,
    desired_version  bigint NOT NULL DEFAULT 0,
    written_version  bigint NOT NULL DEFAULT 0,
    written_digest   text,
    record_id        text,
    on_record_id     text,                            -- the CRM contact record it hangs on
    priority         smallint NOT NULL DEFAULT 0,
    fresh_at         timestamptz NOT NULL,
    waiting_since    timestamptz,
    attempts         int NOT NULL DEFAULT 0,
    not_before       timestamptz NOT NULL DEFAULT '-infinity',
    intent_at        timestamptz,                     -- a create was begun and its result is not known
    lookups          smallint NOT NULL DEFAULT 0,     -- times an in-doubt create was looked up in vain
    problem          text,
    held             text,                            -- of its contact
    topic            text NOT NULL,
    partition        int NOT NULL,
    "offset"         bigint NOT NULL
);
CREATE INDEX activities_waiting ON {sink}.activities (priority, fresh_at DESC)
    WHERE desired_version > written_version AND problem IS NULL AND contact_id IS NOT NULL AND held IS NULL;
CREATE INDEX activities_to_look_up ON {sink}.activities (waiting_since)
    WHERE held = 'lookup' AND desired_version > written_version AND problem IS NULL;
CREATE INDEX activities_of_contact ON {sink}.activities (contact_id);
CREATE INDEX activities_on_record ON {sink}.activities (on_record_id) WHERE on_record_id IS NOT NULL;

-- CRM contact records left over by a merge, until they are deleted or flagged.
CREATE TABLE {sink}.retirements (
    contact_id    uuid PRIMARY KEY,                   -- the merged contact; its id is the record's key in the CRM
    record_id     text,                               -- NULL: its first write was begun and its answer lost
    created_by_us boolean NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    not_before    timestamptz NOT NULL DEFAULT '-infinity',
    attempts      int NOT NULL DEFAULT 0,
    outcome       text,                               -- deleted | never written | flagged: …
    settled_at    timestamptz
);

-- Records that were in the CRM before us: whose they were found to be, and between which the rule chose.
CREATE TABLE {sink}.adoptions (
    contact_id uuid NOT NULL,
    phone      text NOT NULL,
    outcome    text NOT NULL,                         -- adopted | chosen | ambiguous | taken | possible_duplicate
    chosen     text,                                  -- the record id
    rule       text NOT NULL,                         -- oldest | newest | none
    candidates jsonb NOT NULL,                        -- the records that have the phone
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (contact_id, phone, outcome)
);

CREATE TABLE {sink}.offsets (
    topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition)
);
"""


def upgrade() -> None:
    _run(IDENTITY)
    _run(SHARED)
    for sink in ("hubspot", "salesforce"):
        _run(SINK.format(sink=sink))


def _run(script: str) -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))

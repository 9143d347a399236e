"""Sends: what was asked for and what became of it, and everything that says whether one may leave.

The schema is written by the role `outbound` alone, and by the commands that act for an operator. `shared.switches`
is written by `connector pause` and `connector resume`.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

SENDS = """
CREATE SCHEMA outbound;

-- One row a request, by its idempotency key: the first body that was read counts.
CREATE TABLE outbound.triggers (
    trigger_id   text PRIMARY KEY,
    request_hash text NOT NULL,
    source       text NOT NULL,                    -- api | hubspot_workflow | salesforce_outbound | cli
    client       text NOT NULL,
    template     text NOT NULL,
    recipients   int NOT NULL,
    received_at  timestamptz NOT NULL
);

-- Requests that used a key again for something else: nothing of them is sent.
CREATE TABLE outbound.rejections (
    event_id     text PRIMARY KEY,
    trigger_id   text NOT NULL,
    request_hash text NOT NULL,
    at           timestamptz NOT NULL,
    reason       text NOT NULL
);
CREATE INDEX rejections_of_trigger ON outbound.rejections (trigger_id);

-- One template to one person. admitted_at is NULL while only the log's reports about a send are known (a restored
-- database reads them before it reads the request): such a row is in a state that nobody sends from.
CREATE TABLE outbound.sends (
    send_id           text PRIMARY KEY,            -- also what WhatsApp gives back as callback data
    trigger_id        text NOT NULL,
    event_id          text NOT NULL DEFAULT '',
    request_hash      text NOT NULL DEFAULT '',
    source            text NOT NULL DEFAULT '',
    client            text NOT NULL DEFAULT '',
    template_name     text NOT NULL DEFAULT '',
    template_language text NOT NULL DEFAULT '',    -- as asked for; '' = chosen at dispatch
    purpose           text NOT NULL DEFAULT '',    -- as asked for; '' = Meta's category
    recipient         jsonb NOT NULL DEFAULT '{}', -- as asked for
    contact_id        uuid,                        -- as resolved; redirects are followed when it is judged
    obstacle          text NOT NULL DEFAULT '',    -- why it is nobody: not_found | ambiguous | erased | invalid_phone
    phone             text NOT NULL DEFAULT '',    -- E.164, as asked for or resolved
    bsuid             text NOT NULL DEFAULT '',
    from_number       text NOT NULL DEFAULT '',    -- as asked for
    phone_number_id   text NOT NULL DEFAULT '',    -- the business number it leaves from; '' = not known yet
    parameters        jsonb NOT NULL DEFAULT '{}',
    reference         text NOT NULL DEFAULT '',
    callback          jsonb,                       -- a workflow that waits: callback_id, portal_id, expires_at
    priority          smallint NOT NULL DEFAULT 0, -- 0 single, 1 campaign
    state             text NOT NULL CHECK (state IN ('queued', 'sending', 'accepted', 'sent', 'delivered', 'read',
                                                     'failed', 'blocked', 'held', 'unknown', 'expired')),
    created_at        timestamptz NOT NULL,        -- when the request came
    admitted_at       timestamptz,
    expires_at        timestamptz NOT NULL DEFAULT 'infinity',
    expiry_given      boolean NOT NULL DEFAULT false, -- the caller said so; else 24 h, of an authentication template 10 min
    not_before        timestamptz NOT NULL DEFAULT '-infinity',
    resolutions       int NOT NULL DEFAULT 0,      -- times that the recipient was looked for in vain
    attempts          int NOT NULL DEFAULT 0,      -- attempts begun
    attempt_logged    int NOT NULL DEFAULT 0,      -- the highest of them that was read back from the log
    lease_until       timestamptz,                 -- of `sending`
    attempted_at      timestamptz,
    wamid             text UNIQUE,
    category          text NOT NULL DEFAULT '',    -- Meta's, when it was judged; after a status: as it was priced
    pricing_type      text NOT NULL DEFAULT '',
    rendered          text NOT NULL DEFAULT '',    -- what the person reads
    content_key       text NOT NULL DEFAULT '',    -- hash of it, for duplicates
    verdict           jsonb,
    problem           jsonb,                       -- code, cause, reason
    settled_at        timestamptz,                 -- when it reached a state that only a status changes
    outcome_due_at    timestamptz,                 -- from then on a waiting workflow is to be told
    outcome_told_at   timestamptz,
    topic             text NOT NULL DEFAULT '',    -- of the trigger
    partition         int NOT NULL DEFAULT 0,
    "offset"          bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
-- What a dispatcher claims: somebody to judge it for is known, or known to be nobody.
CREATE INDEX sends_due ON outbound.sends (phone_number_id, priority, not_before, created_at)
    WHERE state IN ('queued', 'held') AND (contact_id IS NOT NULL OR obstacle <> '');
CREATE INDEX sends_to_resolve ON outbound.sends (not_before)
    WHERE state IN ('queued', 'held') AND ((contact_id IS NULL AND obstacle = '') OR phone_number_id = '');
CREATE INDEX sends_sending ON outbound.sends (lease_until) WHERE state = 'sending';
CREATE INDEX sends_unknown ON outbound.sends (attempted_at) WHERE state = 'unknown';
CREATE INDEX sends_to_tell ON outbound.sends (outcome_due_at)
    WHERE outcome_due_at IS NOT NULL AND outcome_told_at IS NULL;
CREATE INDEX sends_of_contact ON outbound.sends (contact_id, attempted_at) WHERE contact_id IS NOT NULL;
CREATE INDEX sends_of_trigger ON outbound.sends (trigger_id);
"""

PEOPLE = """
-- What counts for a send about each person; also the row that a judgement locks, in key order.
CREATE TABLE outbound.people (
    contact_id           uuid PRIMARY KEY,
    person_id            uuid NOT NULL,            -- the contact that it is now, all merges followed; itself if none
    redirect_to          uuid,                     -- the winner of its merge
    merged_at            timestamptz,
    phone                text NOT NULL DEFAULT '', -- E.164, as last shown; counts unless it is lost_phone, lost since
    phone_at             timestamptz NOT NULL DEFAULT '-infinity',
    lost_phone           text NOT NULL DEFAULT '', -- went to somebody else: what is queued to them there is blocked
    lost_at              timestamptz NOT NULL DEFAULT '-infinity',
    bsuid                text NOT NULL DEFAULT '',
    bsuid_at             timestamptz NOT NULL DEFAULT '-infinity',
    unreachable_at       timestamptz,              -- last 131026
    marketing_refused_at timestamptz               -- last 131049
) WITH (fillfactor = 80);
CREATE INDEX people_of_person ON outbound.people (person_id);

-- Kept under the contact that the message named; a person's window is the latest of all their contacts.
CREATE TABLE outbound.windows (
    contact_id      uuid NOT NULL,
    phone_number_id text NOT NULL,
    last_inbound_at timestamptz NOT NULL,
    PRIMARY KEY (contact_id, phone_number_id)
) WITH (fillfactor = 80);

-- Everything that was said about consent, under the contact that it named. register: as in the ledger.
CREATE TABLE outbound.consent_acts (
    act_id      text PRIMARY KEY,
    contact_id  uuid NOT NULL,
    purpose     text NOT NULL,                     -- marketing | utility
    register    text NOT NULL,                     -- denied | granted | resumed | reported | withdrawn
    state       text NOT NULL,                     -- granted | denied | unknown
    at          timestamptz NOT NULL,              -- when the person acted
    by_person   boolean NOT NULL,
    resumes     boolean NOT NULL,
    source      text NOT NULL,
    evidence    text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX consent_acts_latest ON outbound.consent_acts
    (contact_id, purpose, register, at DESC, act_id COLLATE "C" DESC);

-- What counts now, per person: what the ledger makes of the acts of all their contacts. A merged contact has none.
CREATE TABLE outbound.consents (
    contact_id uuid NOT NULL,
    purpose    text NOT NULL,
    state      text NOT NULL,
    at         timestamptz NOT NULL,               -- of the act
    source     text NOT NULL,
    act_id     text NOT NULL,
    evidence   text NOT NULL,
    by_person  boolean NOT NULL,
    changed_at timestamptz NOT NULL,               -- since when it counts: after a merge later than the act
    PRIMARY KEY (contact_id, purpose)
);

-- Acts of somebody who has no contact yet: applied when the person is made one, before anything that is sent to them.
CREATE TABLE outbound.waiting_acts (
    act_id      text PRIMARY KEY,
    names       text[] NOT NULL,                   -- what the person was called by: 'phone:4479…', 'hubspot:55'
    recipient   jsonb NOT NULL,
    act         jsonb NOT NULL,
    resolutions int NOT NULL DEFAULT 0,            -- times that the person was looked for in vain
    not_before  timestamptz NOT NULL DEFAULT '-infinity',
    received_at timestamptz NOT NULL
);
CREATE INDEX waiting_acts_due ON outbound.waiting_acts (not_before);
CREATE INDEX waiting_acts_of ON outbound.waiting_acts USING gin (names);
"""

ACCOUNT = """
-- document: the whole template with the time of each attribute; the columns are read out of it.
CREATE TABLE outbound.templates (
    waba_id     text NOT NULL,
    name        text NOT NULL,
    language    text NOT NULL,
    document    jsonb NOT NULL,
    template_id text GENERATED ALWAYS AS (document ->> 'id') STORED,
    status      text GENERATED ALWAYS AS (document ->> 'status') STORED,
    category    text GENERATED ALWAYS AS (document ->> 'category') STORED,
    quality     text GENERATED ALWAYS AS (document ->> 'quality') STORED,
    PRIMARY KEY (waba_id, name, language)
);

-- When each business account's templates and numbers were last read from Meta as a whole.
CREATE TABLE outbound.account_syncs (
    waba_id   text PRIMARY KEY,
    asked_at    timestamptz,                       -- when the last complete reading began
    wanted_at   timestamptz,                       -- somebody asked for a new one then
    lease_until timestamptz NOT NULL DEFAULT '-infinity', -- somebody reads it, or it failed: not tried before
    failures    int NOT NULL DEFAULT 0,            -- in a row
    templates   int NOT NULL DEFAULT 0,
    problem     text NOT NULL DEFAULT ''           -- why the last try failed; '' while fine
);

-- Each group of columns remembers when it was true (`*_at`): notices come late and in any order.
CREATE TABLE outbound.numbers (
    phone_number_id text PRIMARY KEY,
    waba_id         text NOT NULL,
    display_phone   text NOT NULL DEFAULT '',
    verified_name   text NOT NULL DEFAULT '',
    quality         text NOT NULL DEFAULT 'UNKNOWN', -- GREEN | YELLOW | RED | UNKNOWN
    status          text NOT NULL DEFAULT 'CONNECTED',
    throughput      text NOT NULL DEFAULT '',      -- STANDARD | HIGH | NOT_APPLICABLE
    coexistence     boolean NOT NULL DEFAULT false,
    limit_tier      text NOT NULL DEFAULT '',      -- of the portfolio: TIER_250 … TIER_UNLIMITED
    read_at         timestamptz NOT NULL DEFAULT '-infinity',
    paused_until    timestamptz,                   -- after an error of this number or its account
    pause_reason    text NOT NULL DEFAULT ''
);
CREATE INDEX numbers_of_account ON outbound.numbers (waba_id);

-- When the next message may leave: the state of connector/outbound/pacing. kind: number | pair.
CREATE TABLE outbound.paces (
    kind         text NOT NULL,
    key          text NOT NULL,                    -- phone_number_id, or phone_number_id/person_id
    tat          timestamptz,
    share        float8 NOT NULL DEFAULT 1,
    refusals     int NOT NULL DEFAULT 0,
    refused_at   timestamptz,
    closed_until timestamptz,
    PRIMARY KEY (kind, key)
) WITH (fillfactor = 50);

-- People whom Meta counts against the portfolio's limit: written to outside their window, for 24 h.
CREATE TABLE outbound.portfolio_people (
    contact_id uuid PRIMARY KEY,
    counted_at timestamptz NOT NULL
);
CREATE INDEX portfolio_people_age ON outbound.portfolio_people (counted_at);

CREATE TABLE outbound.offsets (
    topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (topic, partition)
);

-- Somebody pressed stop. kind: what is paused (sends); scope: all | template | number; subject '' for all.
CREATE TABLE shared.switches (
    kind    text NOT NULL,
    scope   text NOT NULL,
    subject text NOT NULL,
    reason  text NOT NULL,
    who     text NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (kind, scope, subject)
);
"""


def upgrade() -> None:
    for script in (SENDS, PEOPLE, ACCOUNT):
        _run(script)


def _run(script: str) -> None:
    """Several statements at once: only asyncpg's own `execute` takes them, SQLAlchemy prepares a single one."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))

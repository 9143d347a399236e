"""Every metric, declared once: one comment a line. Labels have few values: never a phone, an id or a message."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BATCH = (1, 10, 50, 100, 250, 500, 1000)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# streams
# Records acknowledged by a stage; outcome: done | dead.
STREAM_RECORDS = Counter("connector_stream_records", "Records acknowledged", ["stage", "outcome"])
# Dead letters by their stable cause.
STREAM_DEAD_LETTERS = Counter("connector_stream_dead_letters", "Dead letters written", ["stage", "cause"])
# Records produced by a stage and confirmed by the broker.
STREAM_PRODUCED = Counter("connector_stream_produced", "Records produced and confirmed", ["stage"])
# Batches repeated as a whole; reason: transient | terminal.
STREAM_RETRIES = Counter("connector_stream_retries", "Batches repeated", ["stage", "reason"])
# Records given back unprocessed because the group rebalanced or the role stopped; they are read again.
STREAM_ABANDONED = Counter("connector_stream_abandoned", "Records given back unprocessed", ["stage"])
# Batches that failed with an unexpected error and were cut up to find the record at fault.
STREAM_ISOLATED = Counter("connector_stream_isolated_batches", "Batches cut up after an error", ["stage"])
# Records in a batch.
STREAM_BATCH_RECORDS = Histogram(
    "connector_stream_batch_records", "Records a batch", ["stage"], buckets=_BATCH
)
# Seconds from the batch's arrival in the stage to its acknowledgement, waiting included.
STREAM_BATCH_SECONDS = Histogram(
    "connector_stream_batch_seconds", "Seconds a batch", ["stage"], buckets=_SECONDS
)
# Seconds between a record's timestamp and its acknowledgement, for the oldest record of a batch.
STREAM_AGE_SECONDS = Gauge(
    "connector_stream_age_seconds", "Age of the oldest record of the last batch", ["stage"]
)
# End offset minus committed offset, for the partitions this process holds, as the broker sees it.
STREAM_LAG = Gauge("connector_stream_lag", "Records behind the end of the log", ["stage", "partition"])
# Partitions this process holds.
STREAM_PARTITIONS = Gauge("connector_stream_partitions", "Partitions assigned", ["stage"])
# Offsets that were skipped because they do not exist (any more).
STREAM_OFFSET_GAP = Counter("connector_stream_offset_gap", "Offsets that do not exist", ["topic"])
# Times the stream app was built again after it failed.
STREAM_RESTARTS = Counter("connector_stream_restarts", "Stream apps built again after a failure", ["stage"])
# Rows of shared.outgoing sent and deleted.
RELAY_SENT = Counter("connector_relay_sent", "Rows of shared.outgoing relayed", ["stage"])

# health
# 1 for the state a part of a role is in: starting | running | standby | waiting | stopped_line | stalled.
HEALTH_STATE = Gauge("connector_health_state", "1 for the present state", ["part", "state"])

# ingress
# POSTs answered, by what became of them: the names of ingress/answers.py (kept | bad_signature | overloaded | …).
INGRESS_POSTS = Counter("connector_ingress_posts", "Webhook POSTs answered", ["outcome"])
# POSTs refused for their signature; reason: missing | malformed | wrong.
INGRESS_BAD_SIGNATURES = Counter("connector_ingress_bad_signatures", "POSTs not signed by us", ["reason"])
# Updates that the broker has; kind: message | status | error | echo | history | account | unknown.
INGRESS_UPDATES = Counter("connector_ingress_updates", "Updates kept on the log", ["kind"])
# POSTs or updates kept as dead letters because they could not be split or sent.
INGRESS_DEAD_LETTERS = Counter("connector_ingress_dead_letters", "Dead letters written", ["cause"])
# Requests answered by the other doors, by what became of them (kept | bad_signature | invalid | …); door: triggers |
# consent | hubspot_action | hubspot_webhooks | salesforce_messages.
INGRESS_DOORS = Counter(
    "connector_ingress_doors", "Requests of CRMs and clients answered", ["door", "outcome"]
)
# Records of those requests that the broker has, by topic and type, e.g. crm.triggers/send.requested.
INGRESS_KEPT = Counter("connector_ingress_kept", "Records of CRMs and clients on the log", ["schema"])
# Seconds from the headers of a POST to its answer, whatever the answer. Meta wants a median of 0.25 s.
INGRESS_POST_SECONDS = Histogram("connector_ingress_post_seconds", "Seconds a POST", buckets=_SECONDS)
# Seconds from handing records to the producer to the broker's answer for the last of them.
INGRESS_BROKER_SECONDS = Histogram(
    "connector_ingress_broker_seconds", "Seconds to be durable", buckets=_SECONDS
)
# Bytes of bodies and records that are neither answered nor confirmed; bounded by CONNECTOR_INGRESS__MAX_INFLIGHT_BYTES.
INGRESS_INFLIGHT_BYTES = Gauge("connector_ingress_inflight_bytes", "Bytes not confirmed yet")
# Producers that were replaced, by what was wrong with them (the error's name, or stuck).
INGRESS_PRODUCERS_REPLACED = Counter("connector_ingress_producers_replaced", "Producers replaced", ["reason"])

# identity
# Statuses that came before anybody knew whose they are, and wait.
PARKED_STATUSES = Gauge("connector_parked_statuses", "Statuses without a person")
# Of those, forgotten after CONNECTOR_IDENTITY__PARKED_DAYS.
PARKED_FORGOTTEN = Counter("connector_parked_forgotten", "Statuses whose person never came")

# sync
# Calls to a CRM; outcome: ok | Transient | RateLimited | Uncertain | Terminal.
CRM_CALLS = Counter("connector_crm_calls", "Calls to a CRM", ["crm", "outcome"])
# Seconds of a CRM call that was answered.
CRM_CALL_SECONDS = Histogram("connector_crm_call_seconds", "Seconds a call", ["crm"], buckets=_SECONDS)
# Contacts and activities by what the CRM made of them; result: written | refused | later | unknown | gone.
CRM_ITEMS = Counter("connector_crm_items", "Items written", ["crm", "kind", "result"])
# Creates in doubt; event: lost_answer | found | absent.
IN_DOUBT = Counter(
    "connector_in_doubt", "Creates whose answer was lost, and what became of them", ["crm", "event"]
)
# People looked up in a CRM before their first write; outcome: the words of sync/core/adoption.py, not_told.
LOOKUPS = Counter("connector_lookups", "People looked up in a CRM", ["crm", "outcome"])
# Left-over contact records of merges; outcome: deleted | never written | flagged.
RETIRED = Counter("connector_retired_contacts", "Contact records left over by merges", ["crm", "outcome"])
# Items whose desired state is ahead of the CRM.
ITEMS_WAITING = Gauge("connector_items_waiting", "Items waiting for the CRM", ["crm"])
# Of those, creates whose answer was lost: looked up before anything is repeated.
ITEMS_IN_DOUBT = Gauge("connector_items_in_doubt", "Creates in doubt", ["crm"])
# Items that the CRM refuses for what they are: they wait for a person, `connector status` names them.
ITEMS_REFUSED = Gauge("connector_items_refused", "Items refused by the CRM", ["crm"])
# Seconds that the item which waits longest has waited.
OLDEST_WAITING_SECONDS = Gauge("connector_oldest_waiting_seconds", "Age of the oldest waiting item", ["crm"])

# What the last `connector reconcile` of a CRM found and did not mend; kind: missing | doubled | different | orphaned. The
# same in every replica: take max(), never sum().
RECONCILE_DRIFT = Gauge("connector_reconcile_drift", "Items that are not as they should be", ["sink", "kind"])
# When that was, in seconds since 1970; 0: never. Alarm when it is older than two of its runs.
RECONCILED_AT = Gauge("connector_reconcile_last_run_timestamp_seconds", "Last reconciliation", ["sink"])
# Records that a repair left for a person to look at.
RECONCILE_FLAGGED = Gauge("connector_reconcile_flagged", "Records that a person is to look at", ["sink"])

# quota
# Calls that got a turn; bucket: burst | associations | search | day; priority: live | statuses | replay.
QUOTA_DRAWS = Counter("connector_quota_draws", "Calls drawn from a quota", ["crm", "bucket", "priority"])
# Seconds that a call waited for its turn.
QUOTA_WAIT_SECONDS = Histogram(
    "connector_quota_wait_seconds", "Seconds waited for a turn", ["crm", "priority"], buckets=_SECONDS
)
# Calls left: of the day as we count, of a rolling window as the last answer said.
QUOTA_LEFT = Gauge("connector_quota_left", "Calls left of a quota", ["crm", "bucket"])
# Calls that the CRM refused for quota (429, 403 REQUEST_LIMIT_EXCEEDED); bucket also: at_once. Avoidable ones are bugs.
QUOTA_REFUSED = Counter("connector_quota_refused", "Calls refused for quota", ["crm", "bucket"])
# Turns given up because the process or the database was too slow for them; each is a call of the quota not used.
QUOTA_MISSED_TURNS = Counter("connector_quota_missed_turns", "Turns that were missed", ["crm"])

# outbound
# Judgements of due sends; fate: sending | held | blocked | expired.
SENDS_JUDGED = Counter("connector_sends_judged", "Sends judged", ["fate"])
# What decided a judgement that did not let a send pass: the first policy that blocks, or the one that holds longest;
# outcome: hold | block. A send that is held is judged again and counted again.
SEND_VERDICTS = Counter("connector_send_verdicts", "Sends held or blocked", ["policy", "outcome"])
# Attempts by their answer: taken | unclear | unsent, or the class of WhatsApp's refusal (whatsapp/send_errors.py).
SENDS_ANSWERED = Counter("connector_sends_answered", "Attempts answered", ["answer"])
# Seconds from a request to its answer, lost ones included.
SEND_SECONDS = Histogram("connector_send_seconds", "Seconds a send", buckets=_SECONDS)
# Attempts that a process left behind; outcome: queued (it certainly never left) | unknown.
SENDS_RECOVERED = Counter("connector_sends_recovered", "Attempts left behind by a process", ["outcome"])
# Sends reported as unknown: no answer and no status. `connector send settle` decides.
SENDS_UNKNOWN = Counter("connector_sends_unknown", "Sends whose outcome was reported as unknown")
# Sends that came to nothing, as the log says it (again when it is read again), by their stable cause
# (whatsapp/send_errors.py).
SENDS_FAILED = Counter("connector_sends_failed", "Sends that came to nothing", ["cause"])
# Statuses of our own sends as they are read, again when they are read again; status: sent | delivered | read | failed |
# other.
SEND_STATUSES = Counter("connector_send_statuses", "Statuses of sends", ["status"])
# The gauges below are what the tables say, the same in every replica: take max(), never sum().
# Sends that are not over; state: queued | held | unresolved (recipient or number not known yet) | sending | unknown.
SENDS_OPEN = Gauge("connector_sends_open", "Sends that are not over", ["state"])
# Seconds that the send which is due longest is overdue; 0 when none is.
OLDEST_DUE_SEND_SECONDS = Gauge("connector_oldest_due_send_seconds", "Age of the oldest due send")
# Switches that somebody pressed; scope: all | template | number.
SEND_SWITCHES = Gauge("connector_send_switches", "Pauses that are on", ["scope"])
# Templates by Meta's status: approved | pending | rejected | paused | disabled | … | other.
TEMPLATES = Gauge("connector_templates", "Templates by status", ["status"])
# Business numbers by Meta's status (connected | flagged | restricted | banned | … | other) and quality (green | yellow |
# red | unknown).
NUMBERS = Gauge("connector_numbers", "Business numbers", ["status", "quality"])
# Numbers that rest after an error of the number, its account or the portfolio.
NUMBERS_RESTING = Gauge("connector_numbers_resting", "Business numbers that rest")
# Business accounts whose last reading failed, and seconds since the oldest complete one.
ACCOUNTS_UNREAD = Gauge("connector_accounts_unread", "Accounts whose templates cannot be read")
ACCOUNT_READING_SECONDS = Gauge("connector_account_reading_seconds", "Age of the oldest account reading")
# Workflows told what became of their send; result: told | nobody waits.
OUTCOMES_TOLD = Counter("connector_outcomes_told", "Workflow callbacks completed", ["result"])

# media
# Attempts to fetch a file; result: stored | later | unavailable | overtaken (withdrawn or purged meanwhile).
MEDIA_FILES = Counter("connector_media_files", "Files by what an attempt made of them", ["result"])
# Bytes of the files stored.
MEDIA_BYTES = Counter("connector_media_bytes", "Bytes stored")
# Downloads whose SHA-256 or size is not what WhatsApp said.
MEDIA_MISMATCHES = Counter("connector_media_mismatches", "Downloads that differ from what was said")
# Seconds of an attempt that stored a file.
MEDIA_SECONDS = Histogram("connector_media_seconds", "Seconds to fetch a file", buckets=(*_SECONDS, 60, 300))
# Files that are still to be fetched.
MEDIA_WAITING = Gauge("connector_media_waiting", "Files to be fetched")
# Seconds until WhatsApp forgets the first of them; 0 when none waits. Alarm below a day.
MEDIA_SECONDS_LEFT = Gauge("connector_media_seconds_left", "Seconds until a waiting file is lost")
# Links followed; outcome: sent | pending | unavailable | gone | expired | refused | away.
MEDIA_LINKS = Counter("connector_media_links", "Links to files followed", ["outcome"])

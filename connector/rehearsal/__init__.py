"""A deployment in memory: webhooks in, what each CRM would be told out. No Kafka, no database, no CRM."""

from connector.rehearsal.deployment import Rehearsal
from connector.rehearsal.outcome import ActivityOutcome, CrmOutcome, PersonOutcome, crm_outcomes

__all__ = ["ActivityOutcome", "CrmOutcome", "PersonOutcome", "Rehearsal", "crm_outcomes"]

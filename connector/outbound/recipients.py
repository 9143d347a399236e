"""Whom a request is for: what it names, and which of it is looked for first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from connector.crm.port import CandidateContact
from connector.events import Recipient
from connector.identity.directory import Alias
from connector.sync.core.typed_numbers import readings
from connector.whatsapp.numbers import bare_number, e164, lookup_variants

CrmName = Literal["hubspot", "salesforce"]


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A contact record of a CRM."""

    crm: CrmName
    record_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """The one name that decides who it is: a BSUID, else a phone, else a CRM's record.

    `invalid`: it is a phone that no country has. Both None: nothing was named.
    """

    alias: Alias | None = None
    record: CrmRecord | None = None
    invalid: bool = False

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The alias in every form under which it may be known, its own first."""
        if self.alias is None or self.alias.kind == "bsuid":
            return () if self.alias is None else (self.alias,)
        return tuple(Alias("phone", digits) for digits in lookup_variants(self.alias.value))


def sought(recipient: Recipient) -> Sought:
    """What decides who the recipient is. A name that counts less is no evidence about one that counts more."""
    if recipient.bsuid:
        return Sought(alias=Alias("bsuid", recipient.bsuid))
    if recipient.phone:
        digits = bare_number(recipient.phone)
        return Sought(alias=Alias("phone", digits), invalid=e164(digits) is None)
    if recipient.hubspot_id:
        return Sought(record=CrmRecord("hubspot", recipient.hubspot_id))
    if recipient.salesforce_id:
        return Sought(record=CrmRecord("salesforce", recipient.salesforce_id))
    return Sought()


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPerson:
    """What a CRM's record says about who it is: our own key, and its phones as digits, the best first."""

    key: UUID | None
    phones: tuple[str, ...]
    unreadable: bool = False
    """It has phones, and none is a possible number of any country."""


def person_on(record: CandidateContact, *, region: str) -> RecordPerson:
    """Who a record is. `region`: country of numbers that people typed without their country code.

    What was typed may be read in several ways; a number that is not certain is nobody's.
    """
    try:
        key = UUID(record.key) if record.key else None
    except ValueError:
        key = None
    read = [readings(phone, region=region) for phone in record.phones]
    certain = dict.fromkeys(next(iter(found)) for found in read if len(found) == 1)
    return RecordPerson(key=key, phones=tuple(certain), unreadable=bool(record.phones) and not certain)


def names_of(recipient: Recipient) -> tuple[str, ...]:
    """Everything that the recipient is called by, as comparable texts."""
    phone = bare_number(recipient.phone) if recipient.phone else ""
    named = {
        "bsuid": recipient.bsuid,
        "phone": phone,
        "hubspot": recipient.hubspot_id,
        "salesforce": recipient.salesforce_id,
    }
    return tuple(f"{kind}:{value}" for kind, value in named.items() if value)

"""A simulated Salesforce org: its whole state, and no HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from connector.crm.salesforce.package import package_files
from connector.crm.salesforce.send_package import send_package_files
from connector.sandbox.journal import Effect
from connector.sandbox.salesforce import errors
from connector.sandbox.salesforce.catalog import SObject, standard_objects
from connector.sandbox.salesforce.config import PERSON_USER_ID, SalesforceConfig
from connector.sandbox.salesforce.duplicates import check_duplicates
from connector.sandbox.salesforce.errors import RequestError, RowError
from connector.sandbox.salesforce.ids import normal, record_id
from connector.sandbox.salesforce.metadata import deploy
from connector.sandbox.salesforce.records import Record, Table, Undo
from connector.sandbox.salesforce.transactions import Transaction
from connector.sandbox.salesforce.values import Values, check_required, check_writable, wire_time


class Org:
    """People, tasks and what hangs on them. `clock` gives Unix seconds.

    Every write is one synchronous step within a `Transaction`; what is wrong with one record is its `RowError`.
    """

    def __init__(self, config: SalesforceConfig, *, clock: Callable[[], float]) -> None:
        self.config = config
        self._clock = clock
        self._numbers = count(1)
        objects = standard_objects()
        if config.packaged:
            deploy(objects, {**package_files(), **send_package_files()})
        for names, act in (
            (config.absent_fields, SObject.hide),
            (config.read_only_fields, SObject.make_read_only),
        ):
            for name in names:
                sobject, field = name.split(".")
                act(objects[sobject], [field])
        self.tables = {name: Table(sobject) for name, sobject in objects.items()}
        self._effects: list[Effect] = []
        self.on_saved: Callable[[Record], None] = lambda _record: None
        """Told of every record that a transaction made or changed, as record-triggered flows are."""

    def deploy(self, files: Mapping[str, str]) -> list[str]:
        """Add custom fields, as an admin does with an SFDX package; the names added."""
        return deploy({name: table.sobject for name, table in self.tables.items()}, files)

    def add_object(self, sobject: SObject, *, child_of: str, relationship: str, field: str) -> None:
        """Give the org an object of its own, whose records hang on those of another by a field of theirs."""
        self.tables[sobject.name] = Table(sobject)
        parent = self.tables[child_of].sobject
        parent.children = {**parent.children, relationship: (sobject.name, field)}

    def table(self, name: str) -> Table:
        """The records of an object.

        Raises:
            RequestError: there is no such object, or the user may not see it.

        """
        found = next((item for item in self.tables if item.lower() == name.lower()), None)
        if found is None or found in self.config.absent_objects:
            raise RequestError(
                status=404, code="NOT_FOUND", message=f"The requested resource does not exist: {name}"
            )
        return self.tables[found]

    def insert(self, sobject: str, values: Values, transaction: Transaction) -> Record:
        """Create a record."""
        table = self.table(sobject)
        self._check(table, values, transaction, before=None)
        now = self._now()
        record = Record(
            id=record_id(table.sobject.prefix, next(self._numbers)),
            sobject=table.sobject.name,
            values=dict.fromkeys(table.sobject.fields),
            writers=[transaction.user_id],
        )
        system: Values = {
            "Id": record.id,
            "IsDeleted": False,
            "OwnerId": transaction.user_id,
            "CreatedDate": now,
            "CreatedById": transaction.user_id,
            **self._stamp(transaction),
        }
        record.values.update({**system, **self._defaults(table.sobject.name), **values})
        self._derive(record)
        transaction.note("created", record.sobject, record.id, table.put(record))
        return record

    def update(self, sobject: str, target: str, values: Values, transaction: Transaction) -> Record:
        """Change a record by its id."""
        table = self.table(sobject)
        record = table.get(target)
        if record is None:
            raise errors.bad_reference("Id")
        if record.deleted:
            raise errors.deleted()
        if record.values.get("IsConverted"):
            raise errors.converted()
        self._check(table, values, transaction, before=record)
        undo = table.change(record, {**values, **self._stamp(transaction)}, writer=transaction.user_id)
        self._derive(record)
        transaction.note("updated", record.sobject, record.id, undo)
        return record

    def upsert(
        self, sobject: str, name: str, values: Values, transaction: Transaction, *, update_only: bool = False
    ) -> tuple[Record, bool]:
        """Create or change the record that holds the external id in `values`: (record, created)."""
        value = values.get(name)
        if not isinstance(value, str):
            raise RowError(
                code="MISSING_ARGUMENT", message=f"{name} not specified", fields=[name], status=400
            )
        table = self.table(sobject)
        record = table.find(name, value)
        if record is not None and transaction.overtaken(table.sobject.name, name, value):
            raise _duplicate_value(name, record)
        if record is not None:
            return self.update(sobject, record.id, values, transaction), False
        if update_only:
            raise RowError(
                code="NOT_FOUND", message="The requested resource does not exist", fields=[], status=404
            )
        return self.insert(sobject, values, transaction), True

    def delete(self, sobject: str, target: str, transaction: Transaction) -> None:
        """Move a record to the recycle bin, with the tasks that hang on it."""
        table = self.table(sobject)
        record = table.get(target)
        if record is None:
            raise errors.bad_reference("Id")
        if record.deleted:
            raise errors.deleted()
        if not transaction.acquire(self.locks_of(table.sobject.name, record, {}, deletes=True)):
            raise errors.locked()
        self._bin(record, transaction)
        for child in list(self.tables["Task"].live()):
            if child.values.get("WhoId") == record.id:
                self._bin(child, transaction)

    def commit(self, transaction: Transaction) -> None:
        """Keep a transaction's changes."""
        self._effects += transaction.effects
        for effect in transaction.effects:
            saved = self.tables[effect.object_type].get(effect.record_id)
            if saved is not None and not saved.deleted:
                self.on_saved(saved)

    def convert_lead(self, lead_id: str) -> Record:
        """Convert a Lead as a person does: a Contact takes its name, numbers and tasks. Custom fields stay behind,
        because no org maps them by itself.
        """
        transaction = Transaction(user_id=PERSON_USER_ID)
        lead = self._live("Lead", lead_id)
        kept = ("LastName", "FirstName", "Email", "Phone", "MobilePhone", "Title")
        contact = self.insert("Contact", {name: lead.values.get(name) for name in kept}, transaction)
        self._set(lead, {"IsConverted": True, "ConvertedContactId": contact.id}, transaction)
        self._move_tasks(lead, contact, transaction)
        self.commit(transaction)
        return contact

    def merge(self, sobject: str, *, master: str, loser: str) -> Record:
        """Merge two people as a person does: the loser goes to the recycle bin, its tasks to the master."""
        transaction = Transaction(user_id=PERSON_USER_ID)
        kept, gone = self._live(sobject, master), self._live(sobject, loser)
        self._move_tasks(gone, kept, transaction)
        self._set(gone, {"IsDeleted": True, "MasterRecordId": kept.id}, transaction)
        self.commit(transaction)
        return kept

    def locks_of(
        self, sobject: str, record: Record | None, values: Mapping[str, Any], *, deletes: bool = False
    ) -> set[str]:
        """The records that writing this one locks.

        A Task locks its person, their Account and what it is about: on update and delete always, on insert only
        when it is open and has a due date (Salesforce's record-locking cheat sheet).
        """
        wanted = {record.id} if record is not None else set()
        if sobject != "Task":
            return wanted
        is_open = values.get("Status") != "Completed" and values.get("ActivityDate") is not None
        if record is None and not is_open and not deletes:
            return wanted
        parents = {values.get("WhoId"), values.get("WhatId")}
        if record is not None:
            parents |= {record.values.get("WhoId"), record.values.get("WhatId")}
        for parent in {normal(item) for item in parents if isinstance(item, str)}:
            wanted.add(parent)
            person = self.tables["Contact"].get(parent)
            if person is not None and person.text("AccountId"):
                wanted.add(person.text("AccountId"))
        return wanted

    def drain_effects(self) -> list[Effect]:
        """Return what changed since the last drain."""
        effects, self._effects = self._effects, []
        return effects

    def state(self) -> dict[str, Any]:
        """Every live person and task, and the doubles among them.

        `doubled` counts, for each field that a client keys records by, the values held by more than one live
        record: what must never happen, decided from the CRM's side.
        """
        names = {"contacts": "Contact", "leads": "Lead", "tasks": "Task"}
        shown = {
            key: [self._shown(record) for record in self.tables[name].live()] for key, name in names.items()
        }
        people = [*shown["contacts"], *shown["leads"]]
        return {
            **shown,
            "counts": {name: len(records) for name, records in shown.items()},
            "doubled": {
                "tasks": _doubled(shown["tasks"], "WA_Message_Id__c"),
                "people": _doubled(people, "WA_Contact_Key__c"),
                "people_by_bsuid": _doubled(people, "WA_BSUID__c"),
                "people_by_phone": _doubled(people, "WA_Phone__c"),
            },
        }

    def _check(
        self, table: Table, values: Values, transaction: Transaction, *, before: Record | None
    ) -> None:
        sobject = table.sobject
        check_writable(sobject, values, creates=before is None)
        text = json.dumps(values, ensure_ascii=False)
        if transaction.contended(text) or not transaction.acquire(
            self.locks_of(sobject.name, before, values)
        ):
            raise errors.locked()
        if transaction.poisoned(text):
            raise RowError(
                code="FIELD_CUSTOM_VALIDATION_EXCEPTION", message="This text is not allowed", fields=[]
            )
        after = {**(before.values if before else {}), **values}
        check_required(sobject, after, self.config.required_fields)
        for name, value in values.items():
            field = sobject.fields[name]
            if field.unique and isinstance(value, str):
                holder = table.holder(name, value, but=before.id if before else None)
                if holder is not None:
                    raise _duplicate_value(name, holder)
            if field.type == "reference" and isinstance(value, str):
                self._check_reference(field.name, field.refers_to, value)
        check_duplicates(
            self.config,
            table,
            values,
            but=before.id if before else None,
            allow_save=transaction.allow_save,
        )

    def _check_reference(self, name: str, targets: tuple[str, ...], value: str) -> None:
        if targets == ("User",):
            return
        prefixes = {self.tables[target].sobject.prefix: target for target in targets}
        target = prefixes.get(value[:3])
        if target is None or len(value) not in (15, 18):
            raise RowError(
                code="MALFORMED_ID", message=f"{name}: id value of incorrect type: {value}", fields=[name]
            )
        record = self.tables[target].get(value)
        if record is None:
            raise errors.bad_reference()
        if record.deleted:
            raise errors.deleted()
        if record.values.get("IsConverted"):
            raise errors.converted()

    def _derive(self, record: Record) -> None:
        if record.sobject in ("Contact", "Lead"):
            named = (record.text("FirstName"), record.text("LastName"))
            record.values["Name"] = " ".join(filter(None, named))
        if record.sobject != "Task":
            return
        for name in ("WhoId", "WhatId"):
            record.values[name] = normal(record.text(name)) or None
        record.values["IsClosed"] = record.values.get("Status") == "Completed"
        person = self.tables["Contact"].get(record.text("WhoId"))
        record.values["AccountId"] = person.values.get("AccountId") if person else None

    def _defaults(self, sobject: str) -> Values:
        if sobject == "Task":
            return {"Status": "Not Started", "Priority": "Normal"}
        return {"Status": "Open - Not Contacted", "IsConverted": False} if sobject == "Lead" else {}

    def _stamp(self, transaction: Transaction) -> Values:
        now = self._now()
        return {"LastModifiedDate": now, "LastModifiedById": transaction.user_id, "SystemModstamp": now}

    def _set(self, record: Record, values: Values, transaction: Transaction) -> Undo:
        undo = self.tables[record.sobject].change(
            record, {**values, **self._stamp(transaction)}, writer=transaction.user_id
        )
        transaction.note("updated", record.sobject, record.id, undo)
        return undo

    def _bin(self, record: Record, transaction: Transaction) -> None:
        undo = self.tables[record.sobject].change(
            record, {"IsDeleted": True, **self._stamp(transaction)}, writer=transaction.user_id
        )
        transaction.note("deleted", record.sobject, record.id, undo)

    def _move_tasks(self, source: Record, target: Record, transaction: Transaction) -> None:
        for task in self.tables["Task"].live():
            if task.values.get("WhoId") == source.id:
                self._set(task, {"WhoId": target.id}, transaction)
                self._derive(task)

    def _live(self, sobject: str, target: str) -> Record:
        record = self.tables[sobject].get(target)
        if record is None or record.deleted:
            raise ValueError(f"there is no live {sobject} {target}")
        return record

    def _shown(self, record: Record) -> dict[str, Any]:
        return {"id": record.id, "values": dict(record.values), "writers": list(record.writers)}

    def _now(self) -> str:
        return wire_time(datetime.fromtimestamp(self._clock(), UTC))


def _duplicate_value(name: str, holder: Record) -> RowError:
    return RowError(
        code="DUPLICATE_VALUE",
        message=f"duplicate value found: {name} duplicates value on record with id: {holder.id}",
        fields=[name],
    )


def _doubled(records: list[dict[str, Any]], name: str) -> Mapping[str, int]:
    held = Counter(record["values"].get(name) for record in records if record["values"].get(name))
    return {value: times for value, times in held.items() if times > 1}

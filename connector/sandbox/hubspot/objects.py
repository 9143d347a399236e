"""The object endpoints, the same for every type: upsert, create, read, update, archive, one record.

Sources beside the rules: developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide and the batch
endpoints' reference pages; "observed" is what integrators report from live portals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from connector.sandbox.hubspot import communications
from connector.sandbox.hubspot.associations import AssociationGraph, Link
from connector.sandbox.hubspot.batches import (
    HISTORY_LIMIT,
    Input,
    Outcome,
    read_inputs,
    refuse_repeated_ids,
    require_ids,
    settle,
)
from connector.sandbox.hubspot.catalog import LEGACY_TYPES, SINGULAR, TYPE_IDS
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import HubSpotError, Problem, invalid, not_found, refuse
from connector.sandbox.hubspot.properties import values_problem
from connector.sandbox.hubspot.records import Caller, Record, RecordStore


class ObjectEndpoints:
    """The endpoints of one object type over its records."""

    def __init__(
        self,
        store: RecordStore,
        *,
        config: HubSpotConfig,
        associations: AssociationGraph,
        random: Random,
        blocked_emails: set[str],
    ) -> None:
        self.store = store
        self._config = config
        self._associations = associations
        self._random = random
        self._blocked_emails = blocked_emails
        self._type = store.object_type

    def upsert(self, document: Any, caller: Caller) -> Outcome:
        """Create or update up to 100 records by a unique property.

        `associations` are dropped without a word (observed). Results come in any order (observed), so a
        client joins them by the key's value.

        Raises:
            HubSpotError: the whole batch is refused and nothing was written.

        """
        inputs = read_inputs(document)
        require_ids(inputs)
        id_property = self._one_id_property(inputs)
        refuse_repeated_ids(inputs, fold_case=id_property == "email")
        targets = {item.place: self.store.find(id_property, item.id or "") for item in inputs}
        accepted, problems = self._judge([_with_key(item, id_property) for item in inputs], targets, caller)
        errors = settle(inputs, problems, id_property=id_property)
        results = []
        for item in inputs:
            if item.place in problems:
                continue
            record, values = targets[item.place], accepted[item.place]
            if record is None:
                written = self.store.create(values, caller)
            else:
                written = record
                self.store.update(record, values, caller)
            results.append({**self._result(written, values, item), "new": record is None})
        return self._outcome(results, errors)

    def create(self, document: Any, caller: Caller) -> Outcome:
        """Create up to 100 records, with their associations.

        Raises:
            HubSpotError: the whole batch is refused and nothing was written.

        """
        inputs = read_inputs(document)
        accepted, problems = self._judge(inputs, dict.fromkeys(range(len(inputs))), caller)
        links: dict[int, list[Link]] = {}
        for item in inputs:
            if item.place not in problems:
                try:
                    links[item.place] = self._associations.parse_inline(self._type, item.associations)
                except HubSpotError as error:
                    problems[item.place] = error.problem
        errors = settle(inputs, problems)
        results = []
        for item in inputs:
            if item.place in problems:
                continue
            record = self.store.create(accepted[item.place], caller)
            for link in links[item.place]:
                self._associations.add(link.starting_at(record.id))
            results.append(self._result(record, accepted[item.place], item))
        return self._outcome(results, errors, success_status=201)

    def update(self, document: Any, caller: Caller) -> Outcome:
        """Update up to 100 records; unknown ids are named in errors[], also without trace ids (observed).

        Raises:
            HubSpotError: the whole batch is refused and nothing was written.

        """
        inputs = read_inputs(document)
        require_ids(inputs)
        refuse_repeated_ids(inputs, fold_case=False)
        targets = {item.place: self._target(item) for item in inputs}
        unknown = [item for item in inputs if targets[item.place] is None]
        known = [item for item in inputs if targets[item.place] is not None]
        accepted, problems = self._judge(known, targets, caller)
        errors = []
        if problems:
            places = {item.place: place for place, item in enumerate(known)}
            errors = settle(known, {places[place]: problem for place, problem in problems.items()})
        errors += _misses([item.id or "" for item in unknown])
        results = []
        for item in known:
            record = targets[item.place]
            if item.place not in problems and record is not None:
                self.store.update(record, accepted[item.place], caller)
                results.append(self._result(record, accepted[item.place], item))
        return self._outcome(results, errors)

    def read(self, document: Any, *, archived: bool = False) -> Outcome:
        """Read up to 100 records (50 with history) by id or unique property; misses are in errors[].

        With `archived` only deleted records are found, by id, for as long as they can be restored
        (reference page of batch/read).

        Raises:
            HubSpotError: 400, too many inputs or a property that is not unique.

        """
        with_history = document.get("propertiesWithHistory") or []
        inputs = read_inputs(document)
        if with_history and len(inputs) > HISTORY_LIMIT:
            raise refuse(
                "The maximum number of inputs supported in a batch request for property histories is "
                f"{HISTORY_LIMIT}. Please reduce the number of items and try again"
            )
        require_ids(inputs)
        id_property = document.get("idProperty")
        if id_property is not None:
            self._check_key(id_property, "read")
        found: dict[str, Record] = {}
        missed: list[str] = []
        for item in inputs:
            key = item.id or ""
            if archived:
                record = self.store.get_archived(key) if id_property is None else None
            else:
                record = self.store.get(key) if id_property is None else self.store.find(id_property, key)
            if record is None:
                missed.append(key)
            else:
                found[record.id] = record
        wanted = [*(document.get("properties") or []), *([id_property] if id_property else [])]
        results = [record.as_json(properties=wanted, with_history=with_history) for record in found.values()]
        return self._outcome(results, _misses(missed))

    def archive(self, document: Any) -> None:
        """Archive up to 100 records; unknown ids are no error (documented: 204)."""
        inputs = read_inputs(document)
        require_ids(inputs)
        for item in inputs:
            record = self.store.get(item.id or "")
            if record is not None:
                self._associations.remove_record(self._type, record.id)
                self.store.archive(record)

    def one(self, record_id: str, *, id_property: str | None = None) -> Record:
        """Return one record.

        Raises:
            HubSpotError: 404, there is none.

        """
        if id_property is not None:
            self._check_key(id_property, "read")
        record = self.store.get(record_id) if id_property is None else self.store.find(id_property, record_id)
        if record is None:
            raise not_found()
        return record

    def _one_id_property(self, inputs: Sequence[Input]) -> str:
        names = {item.id_property for item in inputs}
        if len(names) > 1:
            raise refuse("All inputs of a batch upsert must have the same idProperty.")
        name = names.pop() or "hs_object_id"
        self._check_key(name, "update/upsert")
        return name

    def _check_key(self, name: str, operation: str) -> None:
        if not self.store.catalog.is_key(name):
            raise refuse(
                f"Unable to perform {operation} by non-unique {TYPE_IDS[self._type]} property {name}"
            )

    def _target(self, item: Input) -> Record | None:
        if item.id_property is None:
            return self.store.get(item.id or "")
        self._check_key(item.id_property, "update/upsert")
        return self.store.find(item.id_property, item.id or "")

    def _judge(
        self, inputs: Sequence[Input], targets: Mapping[int, Record | None], caller: Caller
    ) -> tuple[dict[int, dict[str, str]], dict[int, Problem]]:
        """Return the values to store and the problems, by place; writes nothing.

        Raises:
            HubSpotError: a repeated unique value that refuses the whole batch.

        """
        accepted: dict[int, dict[str, str]] = {}
        problems: dict[int, Problem] = {}
        claimed: dict[tuple[str, str], str] = {}
        for item in inputs:
            values, bad = self.store.catalog.validate(item.properties)
            target = targets[item.place]
            if bad:
                problems[item.place] = values_problem(bad, portal_id=self._config.portal_id)
                continue
            problem = self._content_problem(values, target, caller)
            if problem is not None and caller.refused_whole:
                raise HubSpotError(problem)
            if problem is None:
                problem = self._repeated_value(values, target, claimed)
                if problem is not None and self._config.duplicate_scope == "batch":
                    # Only the first conflict is named (HubSpot/hubspot-api-python#51).
                    raise HubSpotError(problem)
            if problem is not None:
                problems[item.place] = problem
                continue
            accepted[item.place] = values
        return accepted, problems

    def _content_problem(
        self, values: Mapping[str, str], target: Record | None, caller: Caller
    ) -> Problem | None:
        if any(caller.poisoned(value) for value in values.values()):
            return invalid("Property values were not valid: the content of a property was rejected.")
        if values.get("email", "") in self._blocked_emails:
            # A GDPR-deleted address is blocked from being used again (gdpr-delete reference page).
            return invalid(f"Email address {values['email']} was deleted for privacy reasons")
        if self._type == "communications" and target is None:
            return communications.missing_properties(values)
        return None

    def _repeated_value(
        self,
        values: Mapping[str, str],
        target: Record | None,
        claimed: dict[tuple[str, str], str],
    ) -> Problem | None:
        """Return the problem of a unique value that another record, or an earlier input, holds."""
        mine = target.id if target is not None else None
        claims = [
            (name, value) for name, value in values.items() if value and self.store.catalog.is_key(name)
        ]
        for name, value in claims:
            holder = self.store.find(name, value)
            holder_id = claimed.get((name, value)) or (holder.id if holder else None)
            if holder_id is not None and holder_id != mine:
                return self._conflict(name, value, mine or self.store.next_id(), holder_id)
        for claim in claims:
            claimed[claim] = mine or "0"
        return None

    def _conflict(self, name: str, value: str, mine: str, holder_id: str) -> Problem:
        if self._config.duplicate_answer == "conflict_409":
            message = f"{SINGULAR[self._type].capitalize()} already exists."
            if self._type == "contacts":
                message += f" Existing ID: {holder_id}"
            return Problem(status=409, category="CONFLICT", message=message)
        # The first id belongs to the record that was about to be made and never will exist (observed).
        coordinates = (
            f"portalId={self._config.portal_id}, "
            f"objectTypeId=ObjectTypeId{{legacyObjectType={LEGACY_TYPES[self._type]}}}, "
            f"propertyName={name}, value={value}"
        )
        return invalid(
            f"Cannot set PropertyValueCoordinates{{{coordinates}}} on {mine}. "
            f"{holder_id} already has that value."
        )

    def _result(self, record: Record, values: Mapping[str, str], item: Input) -> dict[str, Any]:
        document = record.as_json(properties=values)
        document["properties"] = {
            name: value for name, value in document["properties"].items() if value is not None
        }
        if self._config.echo_trace_ids and item.trace_id is not None:
            document["objectWriteTraceId"] = item.trace_id
        return document

    def _outcome(
        self, results: list[dict[str, Any]], errors: list[dict[str, Any]], *, success_status: int = 200
    ) -> Outcome:
        self._random.shuffle(results)
        return Outcome(results=results, errors=errors, success_status=success_status)


def _with_key(item: Input, id_property: str) -> Input:
    properties = {**item.properties}
    properties.setdefault(id_property, item.id)
    return Input(place=item.place, id=item.id, properties=properties, trace_id=item.trace_id)


def _misses(ids: Sequence[str]) -> list[dict[str, Any]]:
    if not ids:
        return []
    return [
        Problem(
            status=404,
            category="OBJECT_NOT_FOUND",
            message="Could not get some objects, they may be deleted or not exist. Check that ids are valid.",
            context={"ids": ids},
        ).item()
    ]
